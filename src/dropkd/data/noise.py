"""Gaussian noise out of numbered random bits, so that it can be made again."""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOISE_VARIANCE", "add_noise"]

# Of levels in 0..255, as in the code of SCN and EAC.
NOISE_VARIANCE = 30.0
# So many equally probable steps stand for the normal distribution: four of them fit into one hash.
_STEPS = 1 << 16


def add_noise(image: NDArray[np.uint8], words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return an image with noise of mean 0 in each pixel and channel.

    Args:
        image: (H, W, 3) uint8.
        words: random bits, at least a quarter as many as the image has numbers.
    """
    bits = words.astype("<u8", copy=False).view("<u2")[: image.size]
    noisy = image.astype(np.int16) + _quantiles()[bits].reshape(image.shape)
    pixels: NDArray[np.uint8] = noisy.clip(0, 255).astype(np.uint8)
    return pixels


@cache
def _quantiles() -> NDArray[np.int16]:
    """Return the distribution's quantiles in whole levels: rounding before the sum or after it is the same."""
    normal = NormalDist(0.0, NOISE_VARIANCE**0.5)
    return np.round([normal.inv_cdf((step + 0.5) / _STEPS) for step in range(_STEPS)]).astype(np.int16)
