"""Which layer a parameter belongs to, and what the classifier is: timm, torchvision, dropkd's own, somebody's."""

from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from dropkd.models import build_network, wrap_model
from dropkd.models.depth import find_depths


def depths_of(name: str, size: int) -> tuple[dict[str, int], int, tuple[str, ...], str]:
    depths = find_depths(build_network(name, num_classes=5, image_size=size))
    return depths.layers, depths.last, depths.heads, depths.by


@pytest.mark.parametrize(
    ("name", "size", "last", "heads"),
    [
        ("vit_tiny_patch16_224", 32, 13, ("head",)),
        ("deit_tiny_distilled_patch16_224", 32, 13, ("head", "head_dist")),
        ("resnet10t", 32, 5, ("fc",)),
        ("convnext_atto", 32, 13, ("head.fc",)),
        ("cct_2_3x2", 32, 3, ("head",)),
    ],
)
def test_a_model_that_groups_itself_is_taken_at_its_word(
    name: str, size: int, last: int, heads: tuple[str, ...]
) -> None:
    layers, found, modules, by = depths_of(name, size)
    assert (found, modules, by) == (last, heads, "the model's own grouping")
    assert set(range(last + 1)) == set(layers.values())


@pytest.mark.parametrize(
    ("name", "size", "last", "heads", "samples"),
    [
        ("cifar_resnet8", 32, 4, ("fc",), {"conv1.weight": 0, "bn1.bias": 0, "layer1.0.bn2.bias": 1, "fc.bias": 4}),
        ("cifar_wrn_16_1", 32, 7, ("fc",), {"block1.layer.1.conv1.weight": 2, "bn1.weight": 6}),
        ("cifar_vgg8", 32, 5, ("classifier",), {"block0.0.weight": 0, "block4.1.bias": 4}),
        ("torchvision/resnet18", 32, 9, ("fc",), {"bn1.weight": 0, "layer2.0.downsample.0.weight": 3}),
        ("torchvision/mobilenet_v3_small", 32, 14, ("classifier.3",), {"classifier.0.bias": 13}),
        ("torchvision/vit_b_16", 32, 13, ("heads.head",), {
            "class_token": 0, "encoder.pos_embedding": 0, "conv_proj.weight": 0,
            "encoder.layers.encoder_layer_0.ln_1.weight": 1, "encoder.ln.weight": 12,
        }),
        ("torchvision/squeezenet1_1", 64, 9, ("classifier.1",), {"features.3.squeeze.weight": 1}),
        ("torchvision/shufflenet_v2_x0_5", 32, 18, ("fc",), {"stage2.0.branch1.0.weight": 1, "conv5.0.weight": 17}),
    ],
)  # fmt: skip
def test_other_models_are_cut_into_blocks_in_the_order_of_their_modules(
    name: str, size: int, last: int, heads: tuple[str, ...], samples: dict[str, int]
) -> None:
    layers, found, modules, by = depths_of(name, size)
    assert (found, modules, by) == (last, heads, "the order of the model's modules")
    assert {parameter: layers[parameter] for parameter in samples} == samples
    assert set(range(last + 1)) == set(layers.values())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t", "mobilenetv3_small_050", "levit_128s"])
def test_the_factors_are_those_of_timms_own_layer_decay(name: str) -> None:
    size = 224 if name == "levit_128s" else 32
    network = build_network(name, num_classes=5, image_size=size)
    depths = find_depths(network)
    numbers = {id(p): n for n, p in network.model.named_parameters()}
    for group in param_groups_layer_decay(network.model, layer_decay=0.7):
        for parameter in group["params"]:
            layer = depths.layers[numbers[id(parameter)]]
            assert 0.7 ** (depths.last - layer) == pytest.approx(group["lr_scale"])


class Wrapped(nn.Module):
    """A backbone with blocks in a list, inside a module of its own, as libraries of transformers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.embeddings = nn.Conv2d(3, 4, 4, stride=4)
        self.body.encoder = nn.Module()
        self.body.encoder.layer = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)) for _ in range(3)
        )
        self.body.norm = nn.BatchNorm2d(4)
        self.top = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body.embeddings(images)
        for block in self.body.encoder.layer:
            maps = maps + block(maps)
        return self.top(self.body.norm(maps).mean((2, 3)))


def test_the_layers_of_a_module_of_ones_own_are_found() -> None:
    torch.manual_seed(0)
    depths = find_depths(wrap_model(Wrapped(), image_size=16))
    assert depths.heads == ("top",)
    assert depths.layers["body.embeddings.weight"] == 0
    assert depths.layers["body.norm.weight"] == depths.last - 1
    firsts = [depths.layers[f"body.encoder.layer.{n}.0.weight"] for n in range(3)]
    assert firsts == sorted(firsts)
    assert len(set(firsts)) == 3
    assert depths.layers["top.weight"] == depths.last
