from __future__ import annotations

import pytest

from dropkd.data import Recipe, default_image_size, default_recipe
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


@pytest.mark.parametrize(("view", "padding"), [((28, 28), 4), ((32, 32), 4), ((48, 64), 6), ((4, 4), 1)])
def test_small_images_are_shifted_by_an_eighth(view: tuple[int, int], padding: int) -> None:
    assert default_recipe(view, view) == Recipe("crop-flip", crop_padding=padding)


def test_photographs_are_cropped_at_random_sizes() -> None:
    assert default_recipe((375, 500), (64, 64)).augmentation == "resized-crop"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentation": "crop-flop"}, r"unknown augmentation 'crop-flop'\. .*Did you mean 'crop-flip'\?"),
        ({"crop_padding": -1}, "crop_padding must be 0 or more pixels, got -1"),
        ({"scale": (0.0, 1.0)}, r"scale must be .*got \(0\.0, 1\.0\)"),
        ({"scale": (0.9, 0.5)}, r"scale must be .*got \(0\.9, 0\.5\)"),
        ({"erase_probability": 1.5}, r"erase_probability must lie in \[0, 1\], got 1\.5"),
        ({"color_jitter": -0.1}, r"color_jitter must lie in \[0, 1\], got -0\.1"),
    ],
)
def test_a_value_out_of_range_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**options)  # type: ignore[arg-type]
