"""Parts of photographs brought to the size of a view, with the processor's vector instructions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resample", "snap_box"]

# Left, upper, right and lower edge.
_Edges = tuple[float, float, float, float]


def snap_box(native: tuple[int, int], box: _Edges, step: int) -> _Edges:
    """Return the part nearest to a part whose edges are multiples of ``step``.

    Args:
        native: height and width of the whole image, ``step`` at least.
        box: the part.
        step: pixels.

    Example:
        >>> snap_box((375, 500), (10.4, 20.6, 300.2, 375.0), 4)
        (12, 20, 300, 372)
    """
    left, right = _snap_line(box[0], box[2], native[1], step)
    upper, lower = _snap_line(box[1], box[3], native[0], step)
    return left, upper, right, lower


def _snap_line(start: float, stop: float, length: int, step: int) -> tuple[int, int]:
    steps = length // step
    first = min(round(start / step), steps - 1)
    last = min(max(round(stop / step), first + 1), steps)
    return first * step, last * step


def resample(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str, mirror: bool) -> NDArray[np.uint8]:
    """Return an image at another size, smoothed where it shrinks, and perhaps mirrored.

    The filters are Pillow's, with weights of 16 bits in place of 32: about one number in 300 differs, by one level, and
    the time is a quarter.

    Args:
        pixels: (H, W, 3).
        size: height and width.
        interpolation: ``bilinear`` or ``bicubic``.
        mirror: left to right.
    """
    # Not at the top: the frames that a network is evaluated on need no torch.
    import torch
    import torch.nn.functional as F

    # A copy, since what is mapped from a file can't be written to, of which tensors warn.
    image = torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=size, mode=interpolation, antialias=True)
    shown = resized.permute(0, 2, 3, 1)[0]
    mirrored: NDArray[np.uint8] = (shown.flip(1) if mirror else shown).numpy()
    return mirrored
