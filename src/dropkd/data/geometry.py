"""Frames, shifts and crops: how the pixels of an image come into a view of fixed size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dropkd.data.images import Picture
from dropkd.data.jpegs import Box, Jpeg
from dropkd.data.reading import PACK_SIDE
from dropkd.data.resampling import resample, snap_box

__all__ = [
    "Box",
    "Native",
    "Pixels",
    "as_picture",
    "as_pixels",
    "centre_box",
    "fit_frame",
    "measure_native",
    "resized_box",
    "shift_into",
    "show_box",
    "show_photo",
]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# (H, W, 3) uint8, RGB.
Pixels = NDArray[np.uint8]
# An image of a data set, decoded or yet to be.
Native = Picture | Pixels | Jpeg


def as_pixels(image: Native) -> Pixels:
    """Return an image as an array."""
    return np.asarray(image.decode() if isinstance(image, Jpeg) else image)


def as_picture(image: Native) -> Picture:
    """Return an image as Pillow's."""
    if isinstance(image, Jpeg):
        image = image.decode()
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def measure_native(image: Native) -> tuple[int, int]:
    """Return an image's height and width."""
    if isinstance(image, np.ndarray):
        return (image.shape[0], image.shape[1])
    return (image.height, image.width)


def fit_frame(image: Native, size: tuple[int, int], interpolation: str = "bilinear") -> Pixels:
    """Return the centre frame: the largest centred part of the image with the shape of ``size``, at ``size``.

    Args:
        image: any size.
        size: height and width.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    native = measure_native(image)
    if native == size:
        return as_pixels(image)
    return show_box(image, centre_box(native, size), size, interpolation)


def show_box(image: Native, box: Box, size: tuple[int, int], interpolation: str = "bilinear") -> Pixels:
    """Return a part of the image at ``size`` (height, width), smoothed where it shrinks."""
    if isinstance(image, Jpeg):
        image, box = image.take(box, size)
    return as_pixels(as_picture(image).resize(size[::-1], _FILTERS[interpolation], box=box))


def show_photo(image: Native, box: Box, size: tuple[int, int], interpolation: str, mirror: bool) -> Pixels:
    """Return a part of an image at ``size`` (height, width), perhaps mirrored.

    Of a large image it is the part nearest to ``box`` that has whole pixels for edges, which takes a quarter of the
    time; a small one, which may be packed, is shown by :func:`show_box`.
    """
    native = measure_native(image)
    if max(native) <= PACK_SIDE:
        shown = show_box(image, box, size, interpolation)
        return shown[:, ::-1] if mirror else shown
    if isinstance(image, Jpeg):
        # Whole pixels of the picture that it will be decoded to.
        image, box = image.take(snap_box(native, box, image.choose_scale(box, size)), size)
        native = measure_native(image)
    left, upper, right, lower = (int(edge) for edge in snap_box(native, box, 1))
    return resample(as_pixels(image)[upper:lower, left:right], size, interpolation, mirror)


def resized_box(
    native: tuple[int, int], size: tuple[int, int], share: float, stretch: float, across: float, down: float
) -> Box:
    """Return the part of an image that a random resized crop shows.

    Args:
        native: height and width of the image.
        size: height and width of the view.
        share: the part's share of the image's area, in (0, 1].
        stretch: how much wider than the view's shape it is.
        across: where it lies from left (0) to right (1).
        down: where it lies from top (0) to bottom (1).
    """
    height, width = native
    ratio = stretch * size[1] / size[0]
    area = share * height * width
    wide, high = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = across * (width - wide), down * (height - high)
    return (left, top, min(width, left + wide), min(height, top + high))


def shift_into(out: Pixels, frame: Pixels, down: int, right: int, mirror: bool) -> None:
    """Write a frame, shifted by whole pixels and perhaps mirrored, into ``out``, which comes black."""
    height, width = frame.shape[:2]
    out, frame = _by_pixel(out), _by_pixel(frame)
    source = frame[:, ::-1] if mirror else frame
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = source[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]


def _by_pixel(image: Pixels) -> NDArray[Any]:
    """Return (H, W) items of three bytes: numpy mirrors those in half the time that it takes for single bytes."""
    return (image if image.strides[-1] == 1 else np.ascontiguousarray(image)).view("V3")[..., 0]


def centre_box(native: tuple[int, int], size: tuple[int, int]) -> Box:
    """Return the largest centred part of an image with the shape of ``size``; both are height and width."""
    height, width = native
    scale = min(height / size[0], width / size[1])
    # Rounding must not reach past the border.
    high, wide = min(height, size[0] * scale), min(width, size[1] * scale)
    left, top = (width - wide) / 2, (height - high) / 2
    return (left, top, min(width, left + wide), min(height, top + high))
