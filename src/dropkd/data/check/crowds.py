"""Crowds: very many images that are nearly the same, such as a film's frames, gathered round one of them each.

Comparing each image of a crowd with each other is the one thing that takes long with the square of their number, and
tells nothing more than that they are one crowd.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.likeness import agree

__all__ = ["gather_crowds"]

# So many images that share 16 bits of their hash may be a crowd; below, comparing all takes no time.
_CROWD = 500
# Images of a crowd differ from the one in its middle in so many bits of 256 at most; within reach of any search.
_CLOSE = 12
# The search for crowds ends after so many middles in a row that gathered hardly anyone, and after so many in all: like
# silhouettes share many bits without being one crowd.
_FRUITLESS, _FEW, _MOST = 10, 50, 2_000


def gather_crowds(
    hashes: NDArray[np.uint64], thumbs: NDArray[np.uint8], colours: NDArray[np.uint8], radius: int
) -> NDArray[np.int64]:
    """Return for each image the one in the middle of its crowd, (N,); itself where it is in none.

    Args:
        hashes: (N, 4) hashes of 256 bits.
        thumbs: (N, 16, 16) uint8.
        colours: (N, 3) uint8.
        radius: the most bits in which two copies differ.
    """
    middle = np.arange(len(hashes))
    alone = np.arange(len(hashes))
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), -1)
    tried = np.zeros(len(hashes), bool)
    fruitless = 0
    for _ in range(_MOST):
        leader = _find_densest(bands[alone], tried[alone])
        if leader < 0 or fruitless == _FRUITLESS:
            break
        chosen = alone[leader]
        tried[chosen] = True
        distance = np.bitwise_count(hashes[alone] ^ hashes[chosen]).sum(axis=1)
        close = alone[distance <= min(_CLOSE, radius)]
        close = close[agree(close, np.full(len(close), chosen), 0, thumbs, colours)]
        fruitless = 0 if len(close) >= _FEW else fruitless + 1
        middle[close] = chosen
        middle[chosen] = chosen
        alone = alone[middle[alone] == alone]
    return middle


def _find_densest(bands: NDArray[np.uint16], tried: NDArray[np.bool_]) -> int:
    """Return the row, not tried yet, that shares a band with the most others, or -1 where none shares it with many."""
    best, most = -1, _CROWD - 1
    for band in bands.T:
        sizes = np.bincount(band, minlength=2**16)[band]
        sizes[tried] = 0
        if len(sizes) and int(sizes.max()) > most:
            best, most = int(sizes.argmax()), int(sizes.max())
    return best
