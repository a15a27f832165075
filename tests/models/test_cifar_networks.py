"""The CIFAR networks against the answers of the public benchmarks' own code; see cifar_golden/README.md."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dropkd import Distiller
from dropkd.errors import ModelError
from dropkd.models import Network, build_network, count_parameters, create_model, model_names, wrap_model

# Parameters for 100 classes, then (channels, side) of each map and the width of the embedding at 32 px: spec/methods.md
# section 2.1 without the stem, the counts exactly as in the benchmarks' code.
NETWORKS: dict[str, tuple[int, list[tuple[int, int]], int]] = {
    "cifar_resnet8": (83_892, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet14": (181_108, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet20": (278_324, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet32": (472_756, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet44": (667_188, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet56": (861_620, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet110": (1_736_564, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_resnet8x4": (1_233_540, [(64, 32), (128, 16), (256, 8)], 256),
    "cifar_resnet32x4": (7_433_860, [(64, 32), (128, 16), (256, 8)], 256),
    "cifar_wrn_16_1": (180_916, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_wrn_16_2": (703_284, [(32, 32), (64, 16), (128, 8)], 128),
    "cifar_wrn_40_1": (569_780, [(16, 32), (32, 16), (64, 8)], 64),
    "cifar_wrn_40_2": (2_255_156, [(32, 32), (64, 16), (128, 8)], 128),
    "cifar_vgg8": (3_965_028, [(128, 16), (256, 8), (512, 4), (512, 4)], 512),
    "cifar_vgg11": (9_277_284, [(128, 16), (256, 8), (512, 4), (512, 4)], 512),
    "cifar_vgg13": (9_462_180, [(128, 16), (256, 8), (512, 4), (512, 4)], 512),
    "cifar_vgg16": (14_774_436, [(128, 16), (256, 8), (512, 4), (512, 4)], 512),
    "cifar_vgg19": (20_086_692, [(128, 16), (256, 8), (512, 4), (512, 4)], 512),
    "cifar_mobilenetv2": (812_836, [(12, 16), (16, 8), (48, 4), (160, 2)], 1280),
    "cifar_shufflenetv1": (949_258, [(240, 16), (480, 8), (960, 4)], 960),
    "cifar_shufflenetv2": (1_355_528, [(116, 16), (232, 8), (464, 4)], 1024),
    "cifar_resnet18": (11_220_132, [(64, 32), (128, 16), (256, 8), (512, 4)], 512),
    "cifar_resnet50": (23_705_252, [(256, 32), (512, 16), (1024, 8), (2048, 4)], 2048),
}
# One of each kind, the smallest.
KINDS = [
    "cifar_resnet8",
    "cifar_wrn_16_1",
    "cifar_vgg8",
    "cifar_mobilenetv2",
    "cifar_shufflenetv1",
    "cifar_shufflenetv2",
    "cifar_resnet18",
]
# A second or so each.
LARGE = ("cifar_resnet110", "cifar_resnet32x4", "cifar_vgg13", "cifar_vgg16", "cifar_vgg19", "cifar_resnet50")
# Networks whose maps end in an activation, or come right before one, and the batch norm before it.
ACTIVATED = {
    "cifar_resnet8": [f"layer{stage}.0.bn2" for stage in (1, 2, 3)],
    "cifar_resnet20": [f"layer{stage}.2.bn2" for stage in (1, 2, 3)],
    "cifar_wrn_16_1": ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"],
    "cifar_wrn_40_2": ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"],
    "cifar_vgg8": [f"block{stage}.1" for stage in (1, 2, 3, 4)],
    "cifar_vgg13": [f"block{stage}.4" for stage in (1, 2, 3, 4)],
    "cifar_shufflenetv1": ["layer1.3.bn3", "layer2.7.bn3", "layer3.3.bn3"],
    "cifar_resnet18": [f"layer{stage}.1.bn2" for stage in (1, 2, 3, 4)],
    "cifar_resnet50": ["layer1.2.bn3", "layer2.3.bn3", "layer3.5.bn3", "layer4.2.bn3"],
}
_TABLE = np.sin(np.arange(9973.0) ** 2)


@cache
def _read_golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "cifar_golden" / "networks.npz") as file:
        return dict(file)


def _golden(entry: str) -> Tensor:
    return torch.from_numpy(_read_golden()[entry])


def _draw(start: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.resize(np.roll(_TABLE, -start), int(np.prod(shape))).reshape(shape)


def _images() -> Tensor:
    return torch.from_numpy(2 * _draw(7, (3, 3, 32, 32))).float()


def _formula(number: int, key: str, value: Tensor) -> Tensor:
    """Return the value of entry ``number`` of a state dict."""
    kind = key.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return value
    drawn = _draw(131 * number, tuple(value.shape))
    if value.ndim > 1:
        drawn = drawn * 2 / np.prod(value.shape[1:]) ** 0.5
    elif kind == "weight":
        drawn = 0.8 + 0.3 * drawn
    elif kind == "running_var":
        drawn = 1 + 0.5 * drawn
    else:
        drawn = 0.1 * drawn
    return torch.from_numpy(drawn).float()


def _build(name: str) -> nn.Module:
    model = create_model(name, num_classes=10).eval()
    state = model.state_dict()
    model.load_state_dict({key: _formula(number, key, state[key]) for number, key in enumerate(state)})
    return model


def _sample(m: Tensor) -> Tensor:
    return m.flatten()[7 + torch.arange(16) * (m.numel() // 16)]


def _assert_near(got: Tensor, expected: Tensor, share: float) -> None:
    """Compare to a share of the largest value; deep residual sums are large."""
    torch.testing.assert_close(got, expected, rtol=0, atol=share * float(expected.abs().max()))


def test_the_whole_family_is_listed() -> None:
    assert {row.name for row in model_names("cifar_*")} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=100)
    assert count_parameters(model) == NETWORKS[name][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_keys_and_shapes_are_those_of_the_archives_in_their_order(name: str) -> None:
    with torch.device("meta"):
        state = create_model(name, num_classes=10).state_dict()
    expected = bytes(_read_golden()[f"{name}/keys"]).decode().splitlines()
    assert [f"{key} {tuple(value.shape)}" for key, value in state.items()] == expected


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NETWORKS]
)
def test_answers_are_those_of_the_benchmarks(name: str) -> None:
    model, images = _build(name), _images()
    with torch.no_grad():
        answer, logits = model.tapped(images), model(images)
        trained = model.train()(images)
    assert torch.equal(logits, answer.logits)
    _assert_near(logits, _golden(f"{name}/eval"), 1e-5)
    _assert_near(answer.embedding[:, :16], _golden(f"{name}/embedding"), 1e-5)
    for feature_map, row in zip(answer.maps, _golden(f"{name}/maps"), strict=True):
        _assert_near(_sample(feature_map), row, 1e-5)
    # Norms over a few values magnify the last bits.
    _assert_near(trained, _golden(f"{name}/train"), 1e-4)
    _, maps, width = NETWORKS[name]
    assert [tuple(m.shape[1:]) for m in answer.maps] == [(channels, side, side) for channels, side in maps]
    assert answer.embedding.shape == (3, width)


@pytest.mark.parametrize(
    ("name", "norms"),
    [pytest.param(*row, marks=pytest.mark.slow) if row[0] in LARGE else row for row in ACTIVATED.items()],
)
def test_maps_before_activation_are_those_of_the_benchmarks(name: str, norms: list[str]) -> None:
    network = wrap_model(_build(name), image_size=32, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    with torch.no_grad():
        answer = network(_images(), preactivations=True)
    for before, row in zip(answer.preactivations, _golden(f"{name}/preactivations"), strict=True):
        _assert_near(_sample(before), row, 1e-5)
    for found, norm in zip(network.norms, norms, strict=True):
        assert torch.equal(found[0], network.model.get_submodule(norm).weight)


@pytest.mark.parametrize("name", KINDS)
def test_network_has_the_maps_and_the_classifier(name: str) -> None:
    network = build_network(name, num_classes=7).eval()
    _, maps, width = NETWORKS[name]
    assert network.shapes.maps == tuple((channels, side, side) for channels, side in maps)
    assert network.shapes.embedding == width
    answer = network(torch.rand(2, 3, 32, 32))
    classifier = network.model.get_classifier()
    assert classifier.out_features == 7
    assert answer.classifier is classifier.weight
    torch.testing.assert_close(classifier(answer.embedding), answer.logits)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (40, 24), (64, 64)])
@pytest.mark.parametrize("name", KINDS)
def test_takes_images_of_other_sizes(name: str, size: tuple[int, int]) -> None:
    model = create_model(name, num_classes=7).eval()
    answer = model.tapped(torch.rand(2, 3, *size))
    assert answer.logits.shape == (2, 7)
    assert answer.embedding.shape == (2, NETWORKS[name][2])


def test_vgg_pools_once_more_at_64_pixels_only() -> None:
    model = create_model("cifar_vgg8", num_classes=7).eval()
    for size, sides in ((64, (32, 16, 8, 4)), (48, (24, 12, 6, 6)), (96, (48, 24, 12, 12))):
        assert tuple(m.shape[2] for m in model.tapped(torch.rand(1, 3, size, size)).maps) == sides


def test_vgg_says_which_images_are_too_small() -> None:
    with pytest.raises(ModelError, match="A VGG needs images of at least 8x8 pixels, got 7x32"):
        build_network("cifar_vgg11", num_classes=7, image_size=(7, 32))
    assert create_model("cifar_vgg11", num_classes=7)(torch.rand(2, 3, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize("name", KINDS)
def test_weights_start_at_the_benchmarks_spread(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=100)
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_in, fan_out = module.weight[0].numel(), module.out_channels * module.kernel_size[0] ** 2
            # ShuffleNets start as the library does: uniform in +-1 / sqrt(fan in).
            spread = (3 * fan_in) ** -0.5 if "shuffle" in name else (2 / fan_out) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(spread, rel=0.1), key
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
    head = model.get_classifier()
    if name in ("cifar_vgg8", "cifar_mobilenetv2"):
        assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert bool(head.bias.any()) == (name not in ("cifar_vgg8", "cifar_mobilenetv2", "cifar_wrn_16_1"))


def test_norms_of_a_wide_resnet_count_a_step_once() -> None:
    network = build_network("cifar_wrn_16_1", num_classes=7).train()
    network(torch.rand(2, 3, 32, 32), preactivations=True)
    counters = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert len(counters) == 13
    assert all(int(value) == 1 for value in counters)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("cifar_shufflenetv1", "cifar_wrn_16_2"),
        ("cifar_shufflenetv2", "cifar_resnet8x4"),
        ("cifar_mobilenetv2", "cifar_vgg8"),
    ],
)
@pytest.mark.parametrize("method", ["kd", "at"])
def test_pairs_of_unlike_networks_distil(student: str, teacher: str, method: str) -> None:
    torch.manual_seed(0)
    pair: list[Network] = [build_network(name, num_classes=10) for name in (student, teacher)]
    distiller = Distiller(*pair, method)
    losses = distiller(torch.rand(4, 3, 32, 32), torch.arange(4))
    losses.loss.backward()
    assert torch.isfinite(losses.loss)
    assert all(parameter.grad is not None for parameter in pair[0].parameters())
