from __future__ import annotations

from typing import Any

import pytest

from dropkd.config.augmentations import AUGMENTATIONS
from dropkd.data import Recipe, default_image_size, recipe
from dropkd.errors import ConfigError


@pytest.mark.parametrize(
    ("native", "model", "expected"),
    [
        ((28, 28), None, (28, 28)),
        ((28, 28), (224, 224), (28, 28)),
        ((48, 64), (224, 224), (48, 64)),
        ((100, 100), (224, 224), (96, 96)),
        ((160, 160), (224, 224), (224, 224)),
        ((375, 500), (224, 224), (224, 224)),
        ((375, 500), (256, 256), (256, 256)),
        ((375, 500), None, (224, 224)),
        ((32, 400), None, (32, 32)),
        ((10, 400), None, (32, 32)),
    ],
)
def test_small_images_are_not_blown_up(
    native: tuple[int, int], model: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    assert default_image_size(native, model) == expected


@pytest.mark.parametrize(("view", "padding"), [((28, 28), 4), ((32, 32), 4), ((48, 64), 6), ((4, 4), 1), ((64, 64), 8)])
def test_small_images_are_shifted_by_an_eighth(view: tuple[int, int], padding: int) -> None:
    for name in ("auto", "crop-flip", "cifar"):
        assert recipe(name, view_size=view) == Recipe("shift", crop_padding=padding)


def test_photographs_are_cropped_at_random_sizes() -> None:
    auto = recipe("auto", native_size=(375, 500), view_size=(64, 64))
    assert (auto.crop, auto.crop_scale) == ("resized", (0.35, 1.0))
    assert recipe("imagenet").crop_scale == (0.08, 1.0)


@pytest.mark.parametrize("name", ["trivial", "rand"])
def test_operations_come_after_the_crop_of_cifar_or_of_imagenet(name: str) -> None:
    small, large = recipe(name, native_size=(32, 32)), recipe(name, native_size=(375, 500))
    assert (small.crop, small.crop_padding, small.operations) == ("shift", 4, name)
    assert (large.crop, large.crop_scale, large.operations) == ("resized", (0.08, 1.0), name)
    assert (large.rand_ops, large.rand_magnitude) == (2, 9)


def test_faces_are_shown_whole_with_noise_and_erasing() -> None:
    scn, eac = recipe("faces-scn"), recipe("faces-eac")
    for faces in (scn, eac):
        assert (faces.crop, faces.noise_probability, faces.erase_probability) == ("centre", 0.5, 0.5)
        assert faces.erase_scale == (0.02, 0.25)
    assert (scn.flip, scn.flip_or_noise) == (True, True)
    assert (eac.flip, eac.flip_or_noise) == (False, False)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        *((name, name) for name in AUGMENTATIONS),
        *((name.upper().replace("-", "_"), name) for name in AUGMENTATIONS),
        ("faces-as-SCN", "faces-scn"), ("faces as EAC", "faces-eac"), ("SCN", "faces-scn"), ("FacesSCN", "faces-scn"),
        ("TrivialAugment", "trivial"), ("trivial_augment_wide", "trivial"), ("TrivialAugmentWide", "trivial"),
        ("RandAugment", "rand"), ("rand-augment", "rand"), ("RandomResizedCrop", "resized-crop"),
    ],
)  # fmt: skip
def test_other_spellings_of_a_name_are_the_name(spelling: str, name: str) -> None:
    assert recipe(spelling) == recipe(name)


@pytest.mark.parametrize(
    ("spelling", "nearest"),
    [("imagnet", "imagenet"), ("CIFER", "cifar"), ("trivialagment", "trivial"), ("crop-flop", "crop-flip")],
)
def test_an_unknown_name_is_refused_with_the_nearest(spelling: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown augmentation '{spelling}'\. .*Did you mean '{nearest}'\?"):
        recipe(spelling)


def test_a_part_stands_in_place_of_the_recipes_own() -> None:
    changed = recipe("imagenet", crop_scale=(0.25, 1.0), flip=False, color_jitter=0.4, erase_probability=None)
    assert changed == Recipe("resized", crop_padding=28, crop_scale=(0.25, 1.0), flip=False, color_jitter=0.4)
    both = recipe("faces-scn", operations="trivial", crop="resized", crop_scale=[0.5, 1.0])
    assert (both.operations, both.crop, both.flip_or_noise) == ("trivial", "resized", True)


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("cifar", {"crop_scale": (0.1, 1.0)}, "'crop_scale' counts where 'crop' is 'resized', but with 'cifar' it is"),
        ("trivial", {"rand_magnitude": 5}, "'rand_magnitude' counts where 'operations' is 'rand', but with 'trivial'"),
        ("cifar", {"erase_scale": (0.1, 0.2)}, "'erase_scale' counts where 'erase_probability' is above 0, but with"),
        ("none", {"color_jitter": 0.4}, "augmentation 'none' changes nothing, but 'color_jitter' is 0.4"),
        ("cifar", {"crop_paddin": 4}, r"a recipe has no part 'crop_paddin'\. .* Did you mean 'crop_padding'\?"),
    ],
)
def test_a_part_that_would_do_nothing_is_refused(name: str, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(name, **parts)


def test_without_augmentation_a_flip_does_not_count() -> None:
    # Configurations spelled one out when it was on by default.
    assert recipe("none", flip=True) == Recipe("centre", flip=False, crop_padding=28)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "resize"}, r"unknown crop 'resize'\. .*Did you mean 'resized'\?"),
        ({"crop": "crop-flip"}, r"unknown crop 'crop-flip'\. .* made by dropkd\.data\.recipe\('crop-flip'\)"),
        ({"interpolation": "cubic"}, r"unknown interpolation 'cubic'\. .*Did you mean 'bicubic'\?"),
        ({"crop_padding": -1}, "crop_padding must be 0 or more pixels, got -1"),
        ({"crop_scale": (0.0, 1.0)}, r"crop_scale must be .*got \(0\.0, 1\.0\)"),
        ({"crop_scale": (0.9, 0.5)}, r"crop_scale must be .*got \(0\.9, 0\.5\)"),
        ({"crop_ratio": (0.5, float("inf"))}, r"crop_ratio must be .*got \(0\.5, inf\)"),
        ({"erase_scale": (0.1, 1.5)}, r"erase_scale must be .*got \(0\.1, 1\.5\)"),
        ({"rand_magnitude": 31}, r"rand_magnitude must lie in 0\.\.30, got 31"),
        ({"erase_probability": 1.5}, r"erase_probability must lie in \[0, 1\], got 1\.5"),
        ({"color_jitter": -0.1}, r"color_jitter must lie in \[0, 1\], got -0\.1"),
    ],
)
def test_a_value_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**options)
