"""Small networks that people ship: each learns from a teacher on tiny images."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from timm.utils import reparameterize_model

from dropkd import Distiller
from dropkd.errors import ModelError
from dropkd.models import Network, build_network, count_parameters, open_network, save_network

# The smallest power of two, in pixels, at which the network and a CIFAR teacher have maps of more than one cell.
SMALLEST = {
    "mobilenetv3_small_050": 8,
    "tf_efficientnet_lite0": 4,
    "mobilenetv4_conv_small": 8,
    "repvit_m0_9": 8,
    "convnext_atto": 32,
    "edgenext_xx_small": 32,
    "fastvit_t8": 8,
    "ghostnet_100": 8,
    "torchvision/shufflenet_v2_x0_5": 4,
}
# (channels, side) of the maps at 64 px, none of them a stem's.
MAPS = {
    "mobilenetv3_small_050": [(8, 16), (16, 8), (24, 4), (288, 2)],
    "tf_efficientnet_lite0": [(16, 32), (24, 16), (40, 8), (112, 4), (320, 2)],
    "mobilenetv4_conv_small": [(32, 16), (64, 8), (96, 4), (960, 2)],
    "repvit_m0_9": [(48, 16), (96, 8), (192, 4), (384, 2)],
    "convnext_atto": [(40, 16), (80, 8), (160, 4), (320, 2)],
    "edgenext_xx_small": [(24, 16), (48, 8), (88, 4), (168, 2)],
    "fastvit_t8": [(48, 16), (96, 8), (192, 4), (384, 2)],
    "ghostnet_100": [(24, 16), (40, 8), (80, 4), (160, 2)],
    "torchvision/shufflenet_v2_x0_5": [(48, 8), (96, 4), (1024, 2)],
}


def _build(name: str, size: int) -> tuple[Network, Network]:
    torch.manual_seed(0)
    return build_network(name, num_classes=4, image_size=size), build_network(
        "cifar_resnet8", num_classes=4, image_size=size
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd", "at"])
@pytest.mark.parametrize("name", SMALLEST)
def test_two_steps_of_distillation_train_all_of_it(name: str, method: str, tmp_path: Path) -> None:
    student, teacher = _build(name, 32)
    distiller = Distiller(student, teacher, method).train()
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=1e-3)
    before = {key: value.detach().clone() for key, value in student.named_parameters()}
    images, target = torch.rand(4, 3, 32, 32), torch.arange(4)
    for _ in range(2):
        optimizer.zero_grad()
        distiller(images, target).loss.backward()
        optimizer.step()
    moved = [key for key, value in student.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) == len(before)
    student.eval()
    with torch.no_grad():
        logits = student.logits(images)
    assert torch.isfinite(logits).all()
    save_network(student, tmp_path / "student.safetensors")
    with torch.no_grad():
        assert torch.equal(open_network(tmp_path / "student.safetensors").logits(images), logits)


@pytest.mark.parametrize("method", ["kd", "at"])
@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_images_give_every_parameter_a_gradient(name: str, method: str) -> None:
    size = SMALLEST[name]
    student, teacher = _build(name, size)
    losses = Distiller(student, teacher, method).train()(torch.rand(4, 3, size, size), torch.arange(4))
    losses.loss.backward()
    assert all(torch.isfinite(term) for term in losses.raw.values())
    for key, value in student.named_parameters():
        assert value.grad is not None, key
        assert torch.isfinite(value.grad).all(), key


@pytest.mark.parametrize("name", SMALLEST)
def test_maps_are_the_stages_without_the_stem(name: str) -> None:
    network = build_network(name, num_classes=4, image_size=64)
    assert network.shapes.maps == tuple((channels, side, side) for channels, side in MAPS[name])


@pytest.mark.parametrize("name", SMALLEST)
def test_smaller_images_are_refused_in_words(name: str) -> None:
    with pytest.raises(ModelError, match=r"can't take images of 16x16 pixels|share grids of one cell only"):
        Distiller(*_build(name, SMALLEST[name] // 2), "at")


@pytest.mark.parametrize("name", ["repvit_m0_9", "fastvit_t8"])
def test_merged_branches_answer_as_the_trained_ones(name: str) -> None:
    network = build_network(name, num_classes=4, image_size=32)
    images = torch.rand(4, 3, 32, 32)
    # Norms with statistics of their own.
    network.train()(images)
    network.eval()
    merged = copy.deepcopy(network)
    merged.model = reparameterize_model(merged.model)
    assert count_parameters(merged) < count_parameters(network)
    with torch.no_grad():
        answer, expected = merged(images), network(images)
    torch.testing.assert_close(answer.logits, expected.logits, rtol=1e-4, atol=1e-5)
    for feature_map, other in zip(answer.maps, expected.maps, strict=True):
        torch.testing.assert_close(feature_map, other, rtol=1e-4, atol=1e-4)
