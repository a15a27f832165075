from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from dropkd.errors import ModelError
from dropkd.models.preprocessing import Preprocessing
from dropkd.models.spec import ModelSpec

SPEC = ModelSpec("x", num_classes=2, image_size=(16, 16), mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))


def test_bytes_and_fractions_of_the_same_image_give_the_same() -> None:
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    preprocessing = Preprocessing(SPEC)
    assert torch.equal(preprocessing(images, crop=False), preprocessing(images / 255, crop=False))


def test_normalises_each_channel() -> None:
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert Preprocessing(SPEC)(white, crop=False)[0, :, 3, 3].tolist() == [1.0, 0.75, 0.5]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(48, 40), (7, 9)])
def test_resizes_with_antialiasing_like_torchvision(interpolation: str, size: tuple[int, int]) -> None:
    spec = replace(SPEC, interpolation=interpolation, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    images = torch.rand(2, 3, *size)
    mode = V.InterpolationMode(interpolation)
    expected = V.resize(images, [16, 16], interpolation=mode, antialias=True).clamp(0, 1)
    torch.testing.assert_close(Preprocessing(spec)(images, crop=False), expected)


def test_evaluation_shows_the_centre_part_and_training_the_whole() -> None:
    spec = replace(SPEC, crop_fraction=0.5, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    images = torch.rand(1, 3, 32, 32)
    preprocessing = Preprocessing(spec)
    assert torch.equal(preprocessing(images, crop=True), images[..., 8:24, 8:24])
    whole = F.interpolate(images, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    assert torch.equal(preprocessing(images, crop=False), whole)


def test_memory_format_is_kept() -> None:
    images = torch.rand(2, 3, 40, 40).to(memory_format=torch.channels_last)
    assert Preprocessing(SPEC)(images, crop=False).is_contiguous(memory_format=torch.channels_last)
    assert Preprocessing(SPEC)(images.contiguous(), crop=False).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_pixels_follow_the_type_of_the_network(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    assert Preprocessing(SPEC).to(dtype)(images, crop=False).dtype == dtype


def test_nothing_of_it_is_in_a_state_dict() -> None:
    assert not Preprocessing(SPEC).state_dict()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 8, 8), r"shape \(B, 3, H, W\), got \(2, 1, 8, 8\)"),
        (torch.zeros(3, 8, 8), r"shape \(B, 3, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), r"uint8 in 0..255 or floating point in 0..1, got torch.int64"),
    ],
)
def test_other_layouts_and_types_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Preprocessing(SPEC)(images, crop=False)
