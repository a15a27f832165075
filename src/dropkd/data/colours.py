"""Changes of colour and the stronger changes of the ``strong`` view, on one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageEnhance, ImageOps

from dropkd.data.images import Picture

__all__ = ["GREY", "STRONG_CHANGES", "change_strongly", "erased_box", "jitter_colours", "square_box"]

# The mean colour of ImageNet, which is about 0 once a network has normalised it.
GREY = (124, 116, 104)


def jitter_colours(image: Picture, factors: Sequence[float]) -> Picture:
    """Scale brightness, contrast and saturation, in this order, each by its factor (1 leaves it alone)."""
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for change, factor in zip(changes, factors, strict=True):
        image = change(image).enhance(factor)
    return image


def erased_box(
    size: tuple[int, int], share: float, ratio: float, across: float, down: float
) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of a rectangle to erase.

    Args:
        size: height and width of the view.
        share: its share of the area.
        ratio: its height over its width.
        across: where it lies from left (0) to right (1).
        down: where it lies from top (0) to bottom (1).
    """
    height, width = size
    area = share * height * width
    high = min(height, max(1, round((area * ratio) ** 0.5)))
    wide = min(width, max(1, round((area / ratio) ** 0.5)))
    top, left = round(down * (height - high)), round(across * (width - wide))
    return (top, left, top + high, left + wide)


def square_box(size: tuple[int, int], share: float, across: float, down: float) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of a square whose centre may lie anywhere, cut off at the borders.

    Args:
        size: height and width of the view.
        share: its side as a share of the shorter side.
        across: where its centre lies from left (0) to right (1).
        down: where its centre lies from top (0) to bottom (1).
    """
    height, width = size
    half = share * min(height, width) / 2
    top, left = max(0, round(down * height - half)), max(0, round(across * width - half))
    return (top, left, min(height, round(down * height + half)), min(width, round(across * width + half)))


def change_strongly(image: Picture, choice: float, strength: float) -> Picture:
    """Apply one of ``STRONG_CHANGES``.

    Args:
        image: RGB.
        choice: which, in [0, 1).
        strength: how much, in [0, 1]; for turns and moves 0.5 is none.
    """
    change = list(STRONG_CHANGES.values())[int(choice * len(STRONG_CHANGES))]
    return change(image, strength)


def _transform(image: Picture, matrix: tuple[float, float, float, float, float, float]) -> Picture:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=GREY)


def _between(low: float, high: float, strength: float) -> float:
    return low + (high - low) * strength


def _shear_x(image: Picture, strength: float) -> Picture:
    return _transform(image, (1, _between(-0.3, 0.3, strength), 0, 0, 1, 0))


def _shear_y(image: Picture, strength: float) -> Picture:
    return _transform(image, (1, 0, 0, _between(-0.3, 0.3, strength), 1, 0))


def _move_x(image: Picture, strength: float) -> Picture:
    return _transform(image, (1, 0, _between(-0.3, 0.3, strength) * image.width, 0, 1, 0))


def _move_y(image: Picture, strength: float) -> Picture:
    return _transform(image, (1, 0, 0, 0, 1, _between(-0.3, 0.3, strength) * image.height))


def _rotate(image: Picture, strength: float) -> Picture:
    return image.rotate(_between(-30, 30, strength), Image.Resampling.BILINEAR, fillcolor=GREY)


# The changes and ranges of MLD's strong view (Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023).
STRONG_CHANGES: dict[str, Callable[[Picture, float], Picture]] = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(_between(0.05, 0.95, s)),
    "colour": lambda image, s: ImageEnhance.Color(image).enhance(_between(0.05, 0.95, s)),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(_between(0.05, 0.95, s)),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(_between(0.05, 0.95, s)),
    "posterize": lambda image, s: ImageOps.posterize(image, round(_between(4, 8, s))),
    "solarize": lambda image, s: ImageOps.solarize(image, round(_between(0, 256, s))),
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "move_x": _move_x,
    "move_y": _move_y,
}
