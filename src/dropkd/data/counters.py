"""Random numbers that are a function of what they are for, not of what was drawn before.

A draw is the hash of (seed, epoch, view, index, column), so any view of any image can be made again, by any
worker, in any order and batch size. The hash is the finaliser of SplitMix64, chained over the parts of the
key.

References:
    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (the idea of counters as state).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["image_keys", "permutation", "stream_key", "uniform", "words"]

_MASK = (1 << 64) - 1
# The odd constant nearest to 2**64 divided by the golden ratio: SplitMix64's step.
_STEP = 0x9E3779B97F4A7C15
# The two multipliers of SplitMix64's finaliser.
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def stream_key(*parts: int) -> int:
    """Return a 64-bit key for whole numbers of any size and sign, different for any other tuple of numbers.

    Example:
        >>> stream_key(0, 1) == stream_key(1, 0)
        False
    """
    key = 0
    for part in (len(parts), *parts):
        key = _mix_integer(((key ^ _mix_integer(part & _MASK)) + _STEP) & _MASK)
    return key


def image_keys(key: int, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one key per image of a stream, (N,) uint64."""
    return _mix((np.asarray(index).astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP) ^ np.uint64(key))


def uniform(keys: NDArray[np.uint64], column: int) -> NDArray[np.float64]:
    """Return the number of each image in the given column, (N,) float64 in [0, 1)."""
    bits = _mix(keys + np.uint64(((column + 1) * _STEP) & _MASK)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def words(key: np.uint64, column: int, count: int) -> NDArray[np.uint64]:
    """Return so many random words of 64 bits for one image, (count,) uint64, where one number is not enough.

    Args:
        key: the image's, of :func:`image_keys`.
        column: as in :func:`uniform`, and used for nothing else.
        count: how many.
    """
    return image_keys(stream_key(int(key), column), np.arange(count))


def permutation(key: int, count: int) -> NDArray[np.int64]:
    """Return the numbers 0 to ``count - 1`` in the order that the key asks for."""
    return np.argsort(image_keys(key, np.arange(count)), kind="stable")


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return state ^ (state >> np.uint64(31))


def _mix_integer(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK
    return state ^ (state >> 31)
