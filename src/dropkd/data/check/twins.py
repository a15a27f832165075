"""Images that are there more than once: the same to the pixel, or so near that they must be copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.hashing import MARGINS
from dropkd.data.check.likeness import agree
from dropkd.data.check.looks import Looks
from dropkd.data.check.neighbours import find_neighbours
from dropkd.data.check.subject import Subject

__all__ = ["Links", "NearCopies", "NearPair", "find_groups", "find_near", "find_same"]

_FAR = 32_767


@dataclass(frozen=True)
class NearPair:
    """Two images that look alike.

    Args:
        first: the number of one.
        second: the number of the other.
        distance: the bits of 256 in which their perceptual hashes differ.
    """

    first: int
    second: int
    distance: int


@dataclass(frozen=True)
class NearCopies:
    """The images that look alike.

    Args:
        pairs: of each image the nearest one, and the nearest in another split or of another class.
        groups: the numbers of all images that hang together by being alike.
    """

    pairs: list[NearPair]
    groups: list[list[int]]


def find_same(looks: Looks) -> list[NDArray[np.int64]]:
    """Return the groups of images whose pixels are all the same, each in order."""
    rows = np.flatnonzero(looks.readable)
    order, starts = _group_rows(looks.pixels[rows])
    return [np.sort(rows[order[a:b]]) for a, b in pairwise(starts) if b - a > 1]


def find_near(
    looks: Looks, subject: Subject, radius: int, progress: Callable[[int, int], None] | None = None
) -> NearCopies:
    """Return near duplicates.

    Images that are the same to the pixel count as one here. Of a large group, where each is near each, this keeps up
    to three pairs an image instead of all.

    Args:
        looks: what the images are like, with hashes.
        subject: the images with their splits and classes.
        radius: the most bits of 256 in which the hashes of two copies may differ.
        progress: called with the number of searches done so far and of all.
    """
    rows, splits, labels = _represent(looks, subject)
    hashes, thumbs, colours = looks.hashes[rows], looks.thumbs[rows], looks.colours[rows]
    nearest, links = [_Nearest(len(rows)) for _ in range(3)], Links(len(rows))
    for margin in range(len(MARGINS)):
        for left, right, distance in find_neighbours(hashes[:, margin], hashes[:, 0], radius):
            other = left != right
            left, right, distance = left[other], right[other], distance[other]
            alike = agree(left, right, margin, thumbs, colours)
            left, right, distance = left[alike], right[alike], distance[alike]
            links.join(left, right)
            for one, two in ((left, right), (right, left)):
                nearest[0].offer(one, two, distance)
                for best, kinds in zip(nearest[1:], (splits, labels), strict=True):
                    apart = ~((kinds[one] == kinds[two]) & (kinds[one] >= 0))
                    best.offer(one[apart], two[apart], distance[apart])
        if progress is not None:
            progress(margin + 1, len(MARGINS))
    found: dict[tuple[int, int], int] = {}
    for best in nearest:
        found.update(best.pairs())
    pairs = [NearPair(int(rows[a]), int(rows[b]), distance) for (a, b), distance in sorted(found.items())]
    return NearCopies(pairs, [rows[group].tolist() for group in find_groups(links.lowest)])


def find_groups(links: NDArray[np.int64]) -> list[list[int]]:
    """Return the groups of two and more that a :class:`Links` made.

    Example:
        >>> links = Links(8)
        >>> links.join(np.array([5, 3, 2]), np.array([2, 7, 6]))
        >>> find_groups(links.lowest)
        [[2, 5, 6], [3, 7]]
    """
    order = np.argsort(links, kind="stable")
    starts = np.flatnonzero(np.diff(links[order], prepend=-1, append=-1))
    return [order[a:b].tolist() for a, b in pairwise(starts) if b - a > 1]


class Links:
    """Images that hang together, as pairs of them come in.

    Args:
        count: how many images there are.
    """

    def __init__(self, count: int) -> None:
        self.lowest = np.arange(count)

    def join(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> None:
        """Take in pairs; afterwards each image has the lowest number of all that it hangs together with."""
        while True:
            first, second = self.lowest[one], self.lowest[two]
            apart = first != second
            if not apart.any():
                return
            low = np.minimum(first, second)[apart]
            np.minimum.at(self.lowest, first[apart], low)
            np.minimum.at(self.lowest, second[apart], low)
            while not np.array_equal(self.lowest, deeper := self.lowest[self.lowest]):
                self.lowest = deeper


class _Nearest:
    """For each image the nearest other that was offered."""

    def __init__(self, count: int) -> None:
        self.other = np.full(count, -1, np.int64)
        self.distance = np.full(count, _FAR, np.int64)

    def offer(self, one: NDArray[np.int64], two: NDArray[np.int64], distance: NDArray[np.int64]) -> None:
        # The nearest is written last; of equally near ones the first image.
        order = np.lexsort((-two, -distance))
        one, two, distance = one[order], two[order], distance[order]
        kept, last = np.unique(one[::-1], return_index=True)
        two, distance = two[::-1][last], distance[::-1][last]
        better = (distance < self.distance[kept]) | ((distance == self.distance[kept]) & (two < self.other[kept]))
        self.other[kept[better]], self.distance[kept[better]] = two[better], distance[better]

    def pairs(self) -> dict[tuple[int, int], int]:
        rows = np.flatnonzero(self.other >= 0)
        return {
            (min(a, b), max(a, b)): d
            for a, b, d in zip(rows.tolist(), self.other[rows].tolist(), self.distance[rows].tolist(), strict=True)
        }


def _represent(looks: Looks, subject: Subject) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return one image of each group of equals, with its split and class; -1 where those of the group differ."""
    rows = np.flatnonzero(looks.readable)
    order, starts = _group_rows(looks.pixels[rows])
    ordered = rows[order]
    codes = []
    for code in (subject.split_codes, subject.label_codes):
        low = np.minimum.reduceat(code[ordered], starts[:-1]) if len(rows) else code[:0]
        high = np.maximum.reduceat(code[ordered], starts[:-1]) if len(rows) else code[:0]
        codes.append(np.where(low == high, low, -1))
    first = np.minimum.reduceat(ordered, starts[:-1]) if len(rows) else rows
    by_number = np.argsort(first)
    return first[by_number], codes[0][by_number], codes[1][by_number]


def _group_rows(values: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order in which equal rows stand together, and where each run of them begins and the last ends."""
    whole = np.ascontiguousarray(values).view(f"V{values.shape[1]}").reshape(-1)
    order = np.argsort(whole, kind="stable")
    if not len(order):
        return order, np.zeros(1, np.int64)
    new = np.flatnonzero(whole[order][1:] != whole[order][:-1]) + 1
    return order, np.concatenate([[0], new, [len(order)]])
