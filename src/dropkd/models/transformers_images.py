"""What a repository of transformers says of the images that its model is fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropkd.errors import ModelError
from dropkd.models.library import nearest_interpolation
from dropkd.models.spec import to_triple

__all__ = ["ImageRecipe", "read_image_recipe"]

# Pillow's numbers of the kinds of resampling.
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "bilinear", 5: "bicubic"}
# From this size on, ConvNeXt's recipe shows the whole image and crops nothing.
_WHOLE_FROM = 384


@dataclass(frozen=True)
class ImageRecipe:
    """How images become what a model was trained on.

    Args:
        image_size: height and width, or None where the file does not say.
        mean: per channel, of values in 0..1.
        std: per channel, of values in 0..1.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        crop_fraction: the centre part, per side, that the model is shown.
        is_bgr: whether the model wants blue first.
    """

    image_size: tuple[int, int] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_fraction: float
    is_bgr: bool


def read_image_recipe(values: Mapping[str, Any]) -> ImageRecipe:
    """Return what the values of a ``preprocessor_config.json`` mean.

    Raises:
        ModelError: a size or a mean is not what it should be.

    Example:
        >>> read_image_recipe({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}).crop_fraction
        0.875
        >>> read_image_recipe({"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}).image_size
        (224, 224)
    """
    resized = _read_size(values, "size") if _is_set(values, "do_resize", True) else None
    shown = _read_size(values, "crop_size") if _is_set(values, "do_center_crop", False) else None
    size, fraction = shown or resized, 1.0
    if shown is not None and resized is not None:
        # Both sides of the crop come from the shorter side of the image.
        fraction = min(1.0, shown[0] / resized[0])
    elif shown is None and resized is not None and resized[0] < _WHOLE_FROM:
        fraction = float(values.get("crop_pct") or 1.0)
    mean, std = _read_statistics(values)
    resample = values.get("resample")
    resample = 2 if resample is None else resample
    return ImageRecipe(
        image_size=size,
        mean=mean,
        std=std,
        interpolation=nearest_interpolation(_RESAMPLING.get(resample, str(resample).lower())),
        crop_fraction=fraction,
        is_bgr=_is_set(values, "do_flip_channel_order", False),
    )


def _read_size(values: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    """Return (height, width) of a number, a pair, or an object with sides."""
    size = values.get(key)
    if size is None:
        return None
    if isinstance(size, Mapping):
        side = size.get("shortest_edge") or size.get("longest_edge")
        sides: Any = (size.get("height") or side, size.get("width") or side)
    else:
        sides = size if isinstance(size, (list, tuple)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ModelError(f"preprocessor_config.json: {key!r} must be a size in pixels, got {size!r}.")
    return sides[0], sides[1]


def _read_statistics(values: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation for values in 0..1, whatever range the file rescales them to."""
    is_normalised = _is_set(values, "do_normalize", True) and values.get("image_mean") is not None
    mean = to_triple(values["image_mean"]) if is_normalised else (0.0, 0.0, 0.0)
    std = to_triple(values["image_std"]) if is_normalised else (1.0, 1.0, 1.0)
    if _is_set(values, "include_top", False):
        # EfficientNet's recipe divides by the deviation twice.
        std = to_triple([value**2 for value in std])
    factor = 255 * float(values.get("rescale_factor") or 1 / 255) if _is_set(values, "do_rescale", True) else 255.0
    offset = 1.0 if _is_set(values, "rescale_offset", False) else 0.0
    return (
        to_triple([(value + offset) / factor for value in mean]),
        to_triple([value / factor for value in std]),
    )


def _is_set(values: Mapping[str, Any], key: str, default: bool) -> bool:
    """Return a switch; null stands for its default."""
    value = values.get(key)
    return default if value is None else bool(value)
