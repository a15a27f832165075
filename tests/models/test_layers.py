"""What each layer of a network says, read while it answers."""

from __future__ import annotations

import pytest
import torch

from dropkd.errors import ConfigError, ModelError
from dropkd.models import build_network, open_teacher
from dropkd.models.layers import LayerReader

IMAGES = torch.rand(5, 3, 32, 32)


def test_stages_are_the_maps_the_embedding_and_the_logits() -> None:
    network = build_network("cifar_resnet8", num_classes=3, image_size=(32, 32))
    reader = LayerReader(network)
    assert reader.names == ("stage 1", "stage 2", "stage 3", "embedding", "logits")
    answer, features = network.eval()(IMAGES), reader.read(IMAGES)
    expected = (*answer.maps, answer.embedding, answer.logits)
    assert all(torch.equal(a, b) for a, b in zip(features, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("cifar_resnet20", [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]),
        ("cct_2_3x2", ["blocks.0", "blocks.1"]),
        ("timm/vit_tiny_patch16_224", [f"blocks.{number}" for number in range(12)]),
        ("resnet18", [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]),
    ],
)
def test_blocks_are_read_in_their_order(name: str, blocks: list[str]) -> None:
    network = build_network(name, num_classes=3, image_size=(32, 32))
    reader = LayerReader(network, "blocks")
    assert [layer for layer in reader.names if layer in blocks] == blocks
    features = reader.read(IMAGES)
    assert len(features) == len(reader.names)
    assert all(len(part) == len(IMAGES) for part in features)
    last = dict(network.model.named_modules())[blocks[-1]]
    kept = []
    hook = last.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = network(IMAGES).logits
    hook.remove()
    assert torch.equal(features[list(reader.names).index(blocks[-1])], kept[0])
    assert torch.equal(features[-1], logits)
    assert not any(module._forward_hooks for module in network.model.modules() if module is last)


def test_a_network_without_blocks_says_so_and_an_unknown_choice_names_the_known() -> None:
    teacher = open_teacher(lambda images: images.mean((2, 3)), num_classes=3, image_size=8)
    assert LayerReader(teacher).names[-1] == "logits"
    with pytest.raises(ModelError, match="take its stages"):
        LayerReader(teacher, "blocks")
    with pytest.raises(ConfigError, match="stages and blocks"):
        LayerReader(teacher, "block")
