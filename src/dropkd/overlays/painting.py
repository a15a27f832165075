"""Pictures of maps: an image in grey under the map's colours, as small files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dropkd.overlays.agreement import sample_map
from dropkd.statistics.arrays import FloatArray

__all__ = ["encode_picture", "fit_picture", "paint_legend", "paint_map", "say_where"]

_Pixels = NDArray[np.uint8]

# Longest side of a picture.
_SIDE = 160
# Viridis at equal steps (van der Walt and Smith, 2015): even steps in lightness, and told apart by the colour-blind.
_VIRIDIS = ("440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725")
_SHADES = np.array([list(bytes.fromhex(shade)) for shade in _VIRIDIS], np.float64) / 255
# How far the colour covers the image where the map is lowest and where it is highest.
_THIN, _THICK = 0.5, 0.75
# What a network is not shown is darkened to this share.
_UNSEEN = 0.4


def fit_picture(image: Image.Image) -> Image.Image:
    """Return an image at the size of a picture; a small one enlarged with its pixels left visible.

    Example:
        >>> fit_picture(Image.new("RGB", (28, 28))).size, fit_picture(Image.new("RGB", (640, 480))).size
        ((140, 140), (160, 120))
    """
    image = image.convert("RGB")
    longest = max(image.size)
    if 2 * longest <= _SIDE:
        times = _SIDE // longest
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    scale = _SIDE / longest
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def paint_map(picture: Image.Image, values: FloatArray, seen: tuple[float, float]) -> Image.Image:
    """Return a picture in grey with a map's colours over the part that the network is shown.

    Args:
        picture: of the whole image.
        values: (H, W), 0..1.
        seen: height and width of the centred part that the network is shown, as shares of the image.
    """
    pixels = np.asarray(picture.convert("L"), np.float64)[..., None] / 255
    rows, columns = ((np.arange(n) + 0.5) / n for n in pixels.shape[:2])
    inside = [(np.abs(points - 0.5) <= share / 2) for points, share in zip((rows, columns), seen, strict=True)]
    height, colour = _colour(values, rows, columns, seen)
    painted = pixels * (1 - height) + colour * height
    shown = (inside[0][:, None] & inside[1][None])[..., None]
    return Image.fromarray(np.round(255 * np.where(shown, painted, _UNSEEN * pixels)).astype(np.uint8).repeat(1, 2))


def _colour(
    values: FloatArray, rows: FloatArray, columns: FloatArray, seen: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return how far the colour covers each pixel, (P, Q, 1), and the colours, (P, Q, 3)."""
    spread = sample_map(values, (rows - 0.5) / seen[0] + 0.5, (columns - 0.5) / seen[1] + 0.5)[..., None]
    return _THIN + (_THICK - _THIN) * spread, _shade(spread[..., 0])


def _shade(values: FloatArray) -> FloatArray:
    steps = np.linspace(0, 1, len(_SHADES))
    return np.stack([np.interp(values, steps, _SHADES[:, c]) for c in range(3)], axis=-1)


def paint_legend(width: int = 160, height: int = 10) -> Image.Image:
    """Return the colours from the lowest value to the highest, over middle grey as in the pictures."""
    values = np.linspace(0, 1, width)[None].repeat(height, 0)
    cover = (_THIN + (_THICK - _THIN) * values)[..., None]
    return Image.fromarray(np.round(255 * (0.5 * (1 - cover) + cover * _shade(values))).astype(np.uint8))


def encode_picture(picture: Image.Image) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def say_where(values: FloatArray) -> str:
    """Say where a map is highest, for those who can't see it.

    Args:
        values: (H, W), 0 or more.

    Example:
        >>> say_where(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        'mostly at the top right'
        >>> say_where(np.ones((4, 4)))
        'evenly all over'
    """
    even = (np.arange(48) + 0.5) / 48
    fine = sample_map(values, even, even)
    parts = fine.reshape(3, 16, 3, 16).sum((1, 3)) / fine.sum()
    row, column = np.unravel_index(int(parts.argmax()), parts.shape)
    if parts.max() < 1.5 / 9:
        return "evenly all over"
    middle_row = ("left", "in the middle", "right")
    words = (
        middle_row[column]
        if row == 1
        else " ".join((("top", "", "bottom")[row], ("left", "", "right")[column])).strip()
    )
    return f"mostly {words}" if words == "in the middle" else f"mostly at the {words}"
