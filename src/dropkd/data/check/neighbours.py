"""Finds hashes that differ in few bits, among many, without comparing each with each.

Two hashes of 256 bits that differ in at most R of them differ in at most R // 16 bits in one of their 16 bands of 16
bits. So for each band, hashes are put in order of that band, and a hash is compared with those whose band is the same
or differs by so few bits (Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_comparisons", "find_neighbours", "narrow_radius"]

_BANDS, _BAND_BITS = 16, 16
# How many pairs are held in memory at once; some 150 bytes each.
_AT_ONCE = 250_000

_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def find_neighbours(queries: NDArray[np.uint64], keys: NDArray[np.uint64], radius: int) -> Iterator[_Found]:
    """Yield all pairs of a query and a key that differ in at most ``radius`` bits, each once, a bounded number at once.

    Args:
        queries: (N, 4) hashes of 256 bits.
        keys: (M, 4) hashes.
        radius: the most bits in which they may differ, 0 to 255.

    Yields:
        The numbers of the queries, those of the keys, and the bits in which they differ, three arrays of one length.
    """
    if not len(queries) or not len(keys):
        return
    distinct_queries, query_of = np.unique(queries, axis=0, return_inverse=True)
    distinct_keys, key_of = np.unique(keys, axis=0, return_inverse=True)
    from_query, from_key = _group(query_of.ravel()), _group(key_of.ravel())
    for left, right, distance in _join(distinct_queries, distinct_keys, radius):
        yield from _spread(left, right, distance, from_query, from_key)


def count_comparisons(hashes: NDArray[np.uint64], radius: int) -> int:
    """Return how many pairs the search among these hashes would compare."""
    values = np.arange(2**_BAND_BITS)
    total = 0
    for band in _split_bands(hashes).T:
        sizes = np.bincount(band, minlength=len(values))
        total += sum(int(sizes @ sizes[values ^ int(mask)]) for mask in _masks(radius // _BANDS))
    return total


def narrow_radius(hashes: NDArray[np.uint64], radius: int, most: int) -> int:
    """Return the largest radius, at most the given one, for which no more than ``most`` pairs are compared.

    It is no smaller than 15, or the given one: from there on the search gets no faster.
    """
    while radius >= _BANDS and count_comparisons(hashes, radius) > most:
        radius = radius // _BANDS * _BANDS - 1
    return radius


def _join(queries: NDArray[np.uint64], keys: NDArray[np.uint64], radius: int) -> Iterator[_Found]:
    query_bands, key_bands = _split_bands(queries), _split_bands(keys)
    most = radius // _BANDS
    masks = _masks(most)
    for band in range(_BANDS):
        order, starts = _group(key_bands[:, band].astype(np.int64), 2**_BAND_BITS)
        for mask in masks:
            bucket = query_bands[:, band] ^ mask
            first, last = starts[bucket], starts[bucket.astype(np.int64) + 1]
            for left, place in _expand(first, last - first):
                right = order[place]
                differing = queries[left] ^ keys[right]
                distance = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
                near = np.flatnonzero(distance <= radius)
                # Two hashes may meet in several bands; the first of them counts.
                within = np.bitwise_count(_split_bands(differing[near])) <= most
                near = near[within.argmax(axis=1) == band]
                if near.size:
                    yield left[near], right[near], distance[near]


def _split_bands(hashes: NDArray[np.uint64]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), _BANDS)


def _masks(most: int) -> list[np.uint16]:
    """Return the masks that flip at most so many bits of a band."""
    flips = (bits for count in range(min(most, _BAND_BITS) + 1) for bits in combinations(range(_BAND_BITS), count))
    return [np.uint16(sum(1 << bit for bit in bits)) for bits in flips]


def _group(values: NDArray[np.int64], count: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in order of their value, and where each value's rows begin there, (count + 1,)."""
    order = np.argsort(values, kind="stable")
    sizes = np.bincount(values, minlength=count or 0)
    return order, np.concatenate([[0], np.cumsum(sizes)])


def _expand(first: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Yield each row's number beside each place of its run ``first, first + 1, ...``, a bounded number at a time."""
    rows = np.flatnonzero(sizes)
    ends = np.cumsum(sizes[rows])
    done = 0
    while done < len(rows):
        base = int(ends[done - 1]) if done else 0
        upto = max(done + 1, int(np.searchsorted(ends, base + _AT_ONCE, "right")))
        some = rows[done:upto]
        counts = sizes[some]
        left = np.repeat(some, counts)
        inside = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield left, np.repeat(first[some], counts) + inside
        done = upto


def _spread(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    distance: NDArray[np.int64],
    from_query: tuple[NDArray[np.int64], NDArray[np.int64]],
    from_key: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> Iterator[_Found]:
    """Turn pairs of distinct hashes into pairs of all rows that have them."""
    (query_rows, query_starts), (key_rows, key_starts) = from_query, from_key
    for pair, place in _expand(query_starts[left], query_starts[left + 1] - query_starts[left]):
        right_of, distance_of = right[pair], distance[pair]
        for again, other in _expand(key_starts[right_of], key_starts[right_of + 1] - key_starts[right_of]):
            yield query_rows[place[again]], key_rows[other], distance_of[again]
