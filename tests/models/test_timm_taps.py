"""timm's models: the same logits as a plain call, and maps and embedding as hooks set by hand see them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dropkd.models import Network, build_network, count_parameters

PYRAMID = [32, 16, 8, 4, 2]
# name: image size, sides of the maps, width of the deepest map, width of the embedding.
MODELS = {
    "resnet18": (64, PYRAMID[1:], 512, 512),
    "resnet50": (64, PYRAMID[1:], 2048, 2048),
    "mobilenetv2_100": (64, PYRAMID, 320, 1280),
    "mobilenetv3_small_100": (64, PYRAMID[1:], 576, 1024),
    "mobilenetv3_large_100": (64, PYRAMID, 960, 1280),
    "mobilevitv2_100": (64, PYRAMID, 512, 512),
    "efficientnet_lite0": (64, PYRAMID, 320, 1280),
    "convnext_atto": (64, PYRAMID[1:], 320, 320),
    "repvit_m1": (64, PYRAMID[1:], 384, 384),
    "swin_tiny_patch4_window7_224": (64, PYRAMID[1:], 768, 768),
    "deit_tiny_patch16_224": (64, [4] * 4, 192, 192),
    "deit_tiny_distilled_patch16_224": (64, [4] * 4, 192, 192),
    "vit_base_patch14_reg4_dinov2": (28, [2] * 4, 768, 768),
    # Heads out of the ordinary: a convolution, a norm in the classifier, logits of all tokens, two branches.
    "resnetv2_18": (32, [8, 4, 2, 1], 512, 512),
    "efficientvit_m0": (64, [4, 2, 1], 192, 192),
    "volo_d1_224": (32, [4, 2], 384, 384),
    "crossvit_tiny_240": (240, [20, 14], 192, 288),
}


def _build(name: str, size: int) -> Network:
    torch.manual_seed(0)
    network = build_network(name, num_classes=5, image_size=size)
    for parameter in network.model.parameters():
        # Some heads start at zero, and zeros would agree with anything.
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network


@pytest.mark.parametrize("name", MODELS)
def test_answers_in_one_pass_with_the_logits_of_a_plain_call(name: str) -> None:
    size, sides, channels, width = MODELS[name]
    network = _build(name, size).eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        answer = network(images)
        plain = network.model(network.preprocessing(images, crop=True))
        assert torch.equal(answer.logits, plain)
        assert torch.equal(network.logits(images), plain)
    assert [m.shape[2:] for m in answer.maps] == [(side, side) for side in sides]
    assert answer.maps[-1].shape[1] == channels
    assert answer.embedding.shape == (2, width)
    assert answer.shapes == network.shapes
    network.train()(images)
    counters = [b for key, b in network.model.named_buffers() if key.endswith("num_batches_tracked")]
    assert all(counter == 1 for counter in counters)


def _hook(network: Network, names: list[str], images: Tensor) -> tuple[dict[str, Any], Any]:
    """Return the outputs of named modules in a plain call, and the network's own answer."""
    seen: dict[str, Any] = {}
    handles = []
    for name in names:
        module = network.model.get_submodule(name)
        handles.append(
            module.register_forward_hook(lambda m, args, out, name=name: seen.update({name: (args[0], out)}))
        )
    with torch.no_grad():
        network.model(network.preprocessing(images, crop=True))
        for handle in handles:
            handle.remove()
        return seen, network(images)


def _compare(name: str, size: int, modules: list[str], classifier: str, fold: Any) -> None:
    network = _build(name, size).eval()
    seen, answer = _hook(network, [*modules, classifier], torch.rand(2, 3, size, size))
    assert len(answer.maps) == len(modules)
    for module, found in zip(modules, answer.maps, strict=True):
        assert torch.equal(found, fold(seen[module][1])), module
    assert torch.equal(answer.embedding, seen[classifier][0])


def test_cnn_taps_equal_hooks_set_by_hand() -> None:
    _compare("resnet18", 64, ["layer1", "layer2", "layer3", "layer4"], "fc", lambda out: out)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("regnetx_002", PYRAMID[1:]),
        ("densenet121", PYRAMID[1:]),
        ("test_byobnet", PYRAMID[1:]),
        ("hrnet_w18_small", PYRAMID[1:]),
        ("inception_v4", [17, 7, 3, 1]),
        ("ghostnet_050", PYRAMID[1:]),
        ("dla34", [64, *PYRAMID]),
        ("efficientnet_b0", PYRAMID),
        ("rexnet_100", PYRAMID),
        ("vgg11_bn", [64, *PYRAMID]),
        ("xception41", PYRAMID),
    ],
)
def test_first_map_is_that_of_the_first_stage(name: str, sides: list[int]) -> None:
    size = 75 if name.startswith("inception") else 64
    with torch.device("meta"):
        maps = build_network(name, num_classes=5, image_size=size).shapes.maps
    assert [height for _, height, _ in maps] == sides


def test_mobile_cnn_taps_equal_hooks_set_by_hand() -> None:
    modules = ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"]
    _compare("efficientnet_lite0", 64, modules, "classifier", lambda out: out)


def test_plain_vit_taps_equal_hooks_set_by_hand() -> None:
    def fold(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).reshape(2, 192, 4, 4)

    _compare("deit_tiny_patch16_224", 64, [f"blocks.{i}" for i in (2, 5, 8, 11)], "head", fold)


def test_vit_with_registers_taps_equal_hooks_set_by_hand() -> None:
    def fold(tokens: Tensor) -> Tensor:
        assert tokens.shape[1] == 5 + 4
        return tokens[:, 5:].transpose(1, 2).reshape(2, 384, 2, 2)

    _compare("vit_small_patch14_reg4_dinov2", 28, [f"blocks.{i}" for i in (2, 5, 8, 11)], "head", fold)


def test_hierarchical_transformer_taps_equal_hooks_set_by_hand() -> None:
    modules = [f"layers.{i}" for i in range(4)]
    _compare("swin_tiny_patch4_window7_224", 64, modules, "head.fc", lambda out: out.permute(0, 3, 1, 2))


def test_hybrid_taps_equal_hooks_set_by_hand() -> None:
    _compare("mobilevitv2_050", 64, [f"stages.{i}" for i in range(5)], "head.fc", lambda out: out)


def test_clip_vit_l14_has_the_published_image_tower() -> None:
    with torch.device("meta"):
        network = build_network("vit_large_patch14_clip_224.openai", num_classes=7)
    assert round(count_parameters(network) / 1e6, 2) == 303.19
    assert network.shapes.maps == ((1024, 16, 16),) * 4
    assert network.shapes.embedding == 1024
    assert network.spec.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)


def test_vit_base_at_its_native_size() -> None:
    with torch.device("meta"):
        network = build_network("vit_base_patch16_224", num_classes=1000)
    assert count_parameters(network) == 86_567_656
    assert network.shapes.maps == ((768, 14, 14),) * 4


def test_vit_without_published_weights_is_built_for_the_images() -> None:
    network = build_network(
        "vit_tiny_patch16_224", num_classes=10, image_size=28, options={"patch_size": 4, "embed_dim": 96, "depth": 2}
    )
    assert network.spec.options == {"patch_size": 4, "embed_dim": 96, "depth": 2, "img_size": [28, 28]}
    assert network.shapes.maps == ((96, 7, 7), (96, 7, 7))


def test_preprocessing_is_read_from_each_models_own_config() -> None:
    vit = build_network("vit_tiny_patch16_224", num_classes=2, image_size=32).spec
    cnn = build_network("resnet18.tv_in1k", num_classes=2, image_size=32).spec
    assert (vit.mean, vit.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert (cnn.mean, cnn.interpolation) == ((0.485, 0.456, 0.406), "bilinear")


def test_named_modules_take_the_place_of_the_found_ones() -> None:
    network = _build("swin_tiny_patch4_window7_224", 64).eval()
    named = build_network(
        "swin_tiny_patch4_window7_224", num_classes=5, image_size=64, map_modules=["layers.1", "layers.3"]
    ).eval()
    named.model.load_state_dict(network.model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, answer = network(images), named(images)
    assert torch.equal(answer.maps[0], found.maps[1])
    assert torch.equal(answer.maps[1], found.maps[3])
    assert torch.equal(answer.embedding, found.embedding)
    assert torch.equal(answer.logits, found.logits)


def test_a_subclass_that_changes_the_call_is_tapped_by_hooks_instead() -> None:
    from timm.models.resnet import BasicBlock, ResNet

    from dropkd.models import wrap_model

    class Sharpened(ResNet):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x) + 1

    model = Sharpened(BasicBlock, [1, 1, 1, 1], num_classes=3)
    network = wrap_model(model, image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    answer = network(images)
    assert torch.equal(answer.logits, model(network.preprocessing(images, crop=True)))
    assert len(answer.maps) == 4
    assert answer.embedding.shape == (2, 512)
