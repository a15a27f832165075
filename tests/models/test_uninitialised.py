"""A model whose weights come from a file is built without drawing them, and is the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dropkd.errors import ModelError
from dropkd.models import build_network, open_network, open_teacher, save_network
from dropkd.models.uninitialised import WithoutDraws

MODELS = {
    "vit_tiny_patch16_224": 32,
    "mobilenetv2_100": 32,
    "convnext_atto": 32,
    "swin_tiny_patch4_window7_224": 64,
    "torchvision/resnet18": 32,
    "cct_2_3x2": 28,
    "cifar_resnet8": 32,
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_buffers_are_those_of_the_file_and_of_a_model_that_was_drawn(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(name, num_classes=3, image_size=MODELS[name]).eval()
    path = tmp_path / "weights.safetensors"
    save_network(network, path)
    before = torch.get_rng_state()
    opened = open_network(path)
    # The compact transformer makes its positions out of a drawn tensor, not in a parameter.
    assert torch.equal(torch.get_rng_state(), before) == (name != "cct_2_3x2")
    found, expected = opened.model.state_dict(), network.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    # Among them those that no file keeps, such as tables of relative positions.
    buffers = dict(network.model.named_buffers())
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in opened.model.named_buffers())
    pixels = torch.rand(2, 3, MODELS[name], MODELS[name])
    assert torch.equal(opened(pixels).logits, network(pixels).logits)
    assert all(p.requires_grad for p in opened.parameters())


def test_a_file_that_lacks_a_parameter_is_refused_as_ever(tmp_path: Path) -> None:
    network = build_network("cifar_resnet8", num_classes=3)
    tensors = dict(network.model.state_dict())
    del tensors["fc.bias"]
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"fc\.bias"):
        open_teacher(f"cifar_resnet8:{tmp_path / 'weights.safetensors'}")


def test_a_classifier_of_other_classes_starts_from_drawn_values(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_network(build_network("cifar_resnet8", num_classes=3), path)
    torch.manual_seed(3)
    first = build_network("cifar_resnet8", num_classes=5, checkpoint=path).model.state_dict()["fc.weight"]
    torch.manual_seed(4)
    second = build_network("cifar_resnet8", num_classes=5, checkpoint=path).model.state_dict()["fc.weight"]
    assert not torch.equal(first, second)
    assert 0.01 < float(first.std()) < 1
    assert torch.equal(
        build_network("cifar_resnet8", num_classes=3, checkpoint=path).model.state_dict()["fc.weight"],
        load_file(path)["fc.weight"],
    )


def test_nothing_but_parameters_goes_undrawn() -> None:
    with WithoutDraws():
        noise = torch.empty(1000).normal_()
        buffer = torch.zeros(4).add_(1)
        torch.manual_seed(0)
        before = torch.get_rng_state()
        torch.nn.TransformerEncoderLayer(16, 2)
        assert torch.equal(torch.get_rng_state(), before)
    assert 0.8 < float(noise.std()) < 1.2
    assert buffer.tolist() == [1, 1, 1, 1]
