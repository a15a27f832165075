"""torchvision's models: the same logits as a plain call, and maps and embedding as hooks set by hand see them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from dropkd.errors import ModelError
from dropkd.models import build_network, count_parameters

# name: sides of the maps for images of 64 pixels, width of the deepest map, width of the embedding.
MODELS = {
    "torchvision/resnet18": ([16, 8, 4, 2], 512, 512),
    "vit_b_16": ([4] * 4, 768, 768),
    "swin_t": ([16, 8, 4, 2], 768, 768),
    "mobilenet_v3_small": ([16, 8, 4, 2], 576, 1024),
    "torchvision/densenet121": ([16, 8, 4, 2], 1024, 1024),
    "shufflenet_v2_x0_5": ([8, 4, 2], 1024, 1024),
    "squeezenet1_1": ([15, 7, 3], 512, 512),
    "googlenet": ([16, 8, 4, 2], 1024, 1024),
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_in_one_pass_with_the_logits_of_a_plain_call(name: str) -> None:
    sides, channels, width = MODELS[name]
    torch.manual_seed(0)
    network = build_network(name, num_classes=5, image_size=64).eval()
    torch.nn.init.normal_(list(network.model.parameters())[-2], std=0.02)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        answer = network(images)
        plain = network.model(network.preprocessing(images, crop=True))
        assert torch.equal(answer.logits, plain)
        assert torch.equal(network.logits(images), plain)
    assert [m.shape[2:] for m in answer.maps] == [(side, side) for side in sides]
    assert answer.maps[-1].shape[1] == channels
    assert answer.embedding.shape == (2, width)
    network.train()(images)
    counters = [b for key, b in network.model.named_buffers() if key.endswith("num_batches_tracked")]
    assert all(counter == 1 for counter in counters)


def _compare(name: str, modules: list[str], classifier: str, fold: Any) -> None:
    torch.manual_seed(0)
    network = build_network(name, num_classes=5, image_size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    seen: dict[str, Any] = {}
    for key in [*modules, classifier]:
        module = network.model.get_submodule(key)
        module.register_forward_hook(lambda m, args, out, key=key: seen.update({key: (args[0], out)}))
    with torch.no_grad():
        answer = network(images)
    assert len(answer.maps) == len(modules)
    for key, found in zip(modules, answer.maps, strict=True):
        assert torch.equal(found, fold(seen[key][1])), key
    assert torch.equal(answer.embedding, seen[classifier][0])


def test_cnn_taps_equal_hooks_set_by_hand() -> None:
    _compare("torchvision/resnet18", ["layer1", "layer2", "layer3", "layer4"], "fc", lambda out: out)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("torchvision/vgg11_bn", [64, 32, 16, 8, 4, 2]),
        ("torchvision/mobilenet_v2", [32, 16, 8, 4, 2]),
        ("torchvision/maxvit_t", [56, 28, 14, 7]),
    ],
)
def test_first_map_is_that_of_the_first_stage(name: str, sides: list[int]) -> None:
    with torch.device("meta"):
        maps = build_network(name, num_classes=5, image_size=224 if "maxvit" in name else 64).shapes.maps
    assert [height for _, height, _ in maps] == sides


def test_vit_taps_equal_hooks_set_by_hand_without_the_class_token() -> None:
    def fold(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).reshape(2, 768, 4, 4)

    modules = [f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 11)]
    _compare("vit_b_16", modules, "heads.head", fold)


def test_hierarchical_transformer_taps_equal_hooks_set_by_hand() -> None:
    modules = [f"features.{i}" for i in (1, 3, 5, 7)]
    _compare("swin_t", modules, "head", lambda out: out.permute(0, 3, 1, 2))


def test_counts_are_those_of_the_library() -> None:
    for name in ("resnet18", "vit_b_16"):
        with torch.device("meta"):
            network = build_network(f"torchvision/{name}", num_classes=None)
        meta = torchvision.models.get_model_weights(name).DEFAULT.meta
        assert count_parameters(network) == meta["num_params"]


def test_no_hook_stays_in_the_model() -> None:
    network = build_network("torchvision/resnet18", num_classes=5, image_size=32)
    network(torch.rand(2, 3, 32, 32))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_preprocessing_is_read_from_the_published_weights() -> None:
    spec = build_network("torchvision/resnet18", num_classes=2).spec
    assert (spec.image_size, spec.interpolation, spec.crop_fraction) == ((224, 224), "bilinear", 1.0)
    assert spec.name == "torchvision/resnet18"


def test_oblong_images_are_refused_by_the_square_transformer() -> None:
    with pytest.raises(ModelError, match=r"'vit_b_16' takes square images only, got 32x64"):
        build_network("vit_b_16", num_classes=2, image_size=(32, 64))


def test_wrong_option_is_told() -> None:
    with pytest.raises(ModelError, match=r"torchvision can't build 'resnet18' with the options \{'depth': 3\}"):
        build_network("torchvision/resnet18", num_classes=2, options={"depth": 3})
