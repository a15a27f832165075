"""Whether two pictures whose hashes are near each other do look alike: their thumbnails and mean colours say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.hashing import MARGINS, THUMB_SIDE, trim_thumbs

__all__ = ["agree"]

# How many thumbnails are compared at once: 16 MiB of them.
_AT_ONCE = 16_384
# The least correlation of two thumbnails; and of a trimmed one with the middle of another, which is enlarged and so
# blurred. Measured on copies and on distinct images, see docs/data-check.md.
_LEAST, _LEAST_TRIMMED = 0.975, 0.93
# Below this spread (in grey levels) a thumbnail is an even area, of which nothing but the level can be compared.
_EVEN = 3.0
_SAME_LEVEL = 8.0
# The same drawing in another colour is another picture, but a grey copy is a copy: the most that two mean colours may
# differ, brightness aside, and how little colour counts as grey.
_MOST_COLOUR, _GREY = 32.0, 2.0


def agree(
    left: NDArray[np.int64], right: NDArray[np.int64], margin: int, thumbs: NDArray[np.uint8],
    colours: NDArray[np.uint8],
) -> NDArray[np.bool_]:  # fmt: skip
    """Tell of each pair whether its pictures look alike.

    Args:
        left: (P,) numbers of the pictures whose middle is compared.
        right: (P,) numbers of the others, compared as a whole.
        margin: the place in ``MARGINS`` of what is left away of the first.
        thumbs: (N, side, side) uint8.
        colours: (N, 3) uint8.
    """
    alike = np.zeros(len(left), bool)
    for start in range(0, len(left), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        alike[some] = _agree(left[some], right[some], margin, thumbs, colours)
    return alike


def _agree(
    left: NDArray[np.int64], right: NDArray[np.int64], margin: int, thumbs: NDArray[np.uint8],
    colours: NDArray[np.uint8],
) -> NDArray[np.bool_]:  # fmt: skip
    first = trim_thumbs(thumbs[left].astype(np.float32), MARGINS[margin]).reshape(len(left), THUMB_SIDE**2)
    second = thumbs[right].reshape(len(right), THUMB_SIDE**2).astype(np.float32)
    level = np.abs(first.mean(axis=1) - second.mean(axis=1))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    spreads = first.std(axis=1), second.std(axis=1)
    even = (spreads[0] < _EVEN) & (spreads[1] < _EVEN)
    product = np.maximum(spreads[0] * spreads[1], 1e-6)
    correlation = (first * second).mean(axis=1) / product
    alike = np.where(even, level <= _SAME_LEVEL, correlation >= (_LEAST_TRIMMED if margin else _LEAST))
    first_colour, second_colour = (_without_brightness(colours[rows]) for rows in (left, right))
    difference = np.abs(first_colour - second_colour).max(axis=1)
    grey = np.minimum(np.abs(first_colour).max(axis=1), np.abs(second_colour).max(axis=1)) <= _GREY
    same: NDArray[np.bool_] = alike & np.where(even, difference <= _SAME_LEVEL, grey | (difference <= _MOST_COLOUR))
    return same


def _without_brightness(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = colours.astype(np.float32)
    difference: NDArray[np.float32] = values - values.mean(axis=1, keepdims=True)
    return difference
