"""Images that are there more than once: the same to the pixel, or so near that they must be copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.crowds import gather_crowds
from dropkd.data.check.hashing import MARGINS
from dropkd.data.check.likeness import agree
from dropkd.data.check.looks import Looks
from dropkd.data.check.neighbours import find_neighbours, narrow_radius
from dropkd.data.check.subject import Subject

__all__ = ["Links", "NearCopies", "NearPair", "find_groups", "find_near", "find_same"]

_FAR = 32_767
# Some minutes; a hundred thousand images with their own lines and textures stay far below.
_MOST_COMPARISONS = 5_000_000_000


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
        radius: the most bits of 256 that were looked at in the end.
    """

    pairs: list[NearPair]
    groups: list[list[int]]
    radius: int


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
    found = _Copies(hashes, thumbs, colours, (np.full(len(rows), -1), splits, labels))
    middle = gather_crowds(hashes[:, 0], thumbs, colours, radius)
    found.take_crowds(middle)
    apart = np.flatnonzero(middle == np.arange(len(rows)))
    # Few bits tell very smooth images apart: too many would have to be compared.
    radius = narrow_radius(hashes[apart, 0], radius, _MOST_COMPARISONS)
    for margin in range(len(MARGINS)):
        for left, right, distance in find_neighbours(hashes[apart, margin], hashes[apart, 0], radius):
            found.take(apart[left], apart[right], distance, margin)
        if progress is not None:
            progress(margin + 1, len(MARGINS))
    pairs = [NearPair(int(rows[a]), int(rows[b]), distance) for (a, b), distance in sorted(found.pairs().items())]
    return NearCopies(pairs, [rows[group].tolist() for group in find_groups(found.links.lowest)], radius)


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

    def are_apart(self, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which pairs do not hang together yet."""
        apart: NDArray[np.bool_] = self.lowest[one] != self.lowest[two]
        return apart

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


class _Copies:
    """Gathers pairs of images that look alike.

    Args:
        hashes: (N, margins, 4) hashes.
        thumbs: (N, 16, 16) uint8.
        colours: (N, 3) uint8.
        kinds: what two images may differ in, each (N,): the nearest is kept that differs. A -1 differs from all.
    """

    def __init__(
        self,
        hashes: NDArray[np.uint64],
        thumbs: NDArray[np.uint8],
        colours: NDArray[np.uint8],
        kinds: tuple[NDArray[np.int64], ...],
    ) -> None:
        self.hashes, self.thumbs, self.colours, self.kinds = hashes, thumbs, colours, kinds
        self.links = Links(len(hashes))
        self.nearest = [_Nearest(len(hashes)) for _ in kinds]

    def take(self, left: NDArray[np.int64], right: NDArray[np.int64], distance: NDArray[np.int64], margin: int) -> None:
        """Take in pairs whose hashes are near each other, where the images do look alike."""
        # Many pairs tell nothing new: they need not be looked at.
        new = self.links.are_apart(left, right)
        for best, kind in zip(self.nearest, self.kinds, strict=True):
            new |= best.would_take(left, right, distance, kind)
        new &= left != right
        left, right, distance = left[new], right[new], distance[new]
        alike = agree(left, right, margin, self.thumbs, self.colours)
        left, right, distance = left[alike], right[alike], distance[alike]
        self.links.join(left, right)
        for best, kind in zip(self.nearest, self.kinds, strict=True):
            best.offer(left, right, distance, kind)
            best.offer(right, left, distance, kind)

    def take_crowds(self, middle: NDArray[np.int64]) -> None:
        """Take in crowds: each image beside the middle one, and beside the first one of another kind."""
        rows = np.flatnonzero(middle != np.arange(len(middle)))
        self._take_by_distance(rows, middle[rows])
        for kind in self.kinds[1:]:
            for crowd in find_groups(middle):
                members = np.array(crowd)
                first = members[0]
                other = members[kind[members] != kind[first]][:1]
                if other.size:
                    self._take_by_distance(members, np.where(kind[members] == kind[first], other[0], first))

    def pairs(self) -> dict[tuple[int, int], int]:
        """Return the pairs that were kept, with their distance."""
        return {pair: distance for best in self.nearest for pair, distance in best.pairs().items()}

    def _take_by_distance(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        distance = np.bitwise_count(self.hashes[left, 0] ^ self.hashes[right, 0]).sum(axis=1, dtype=np.int64)
        self.take(left, right, distance, 0)


class _Nearest:
    """For each image the nearest other that was offered."""

    def __init__(self, count: int) -> None:
        self.other = np.full(count, -1, np.int64)
        self.distance = np.full(count, _FAR, np.int64)

    def would_take(
        self, one: NDArray[np.int64], two: NDArray[np.int64], distance: NDArray[np.int64], kind: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which pairs would be the nearest for one of their images."""
        nearer = (distance < self.distance[one]) | (distance < self.distance[two])
        return nearer & _differ(kind, one, two)

    def offer(
        self, one: NDArray[np.int64], two: NDArray[np.int64], distance: NDArray[np.int64], kind: NDArray[np.int64]
    ) -> None:
        """Take in pairs of different kinds, for the first image of each."""
        apart = _differ(kind, one, two)
        one, two, distance = one[apart], two[apart], distance[apart]
        # The nearest comes first; of equally near ones the lowest number.
        order = np.lexsort((two, distance))
        kept, first = np.unique(one[order], return_index=True)
        two, distance = two[order][first], distance[order][first]
        better = distance < self.distance[kept]
        self.other[kept[better]], self.distance[kept[better]] = two[better], distance[better]

    def pairs(self) -> dict[tuple[int, int], int]:
        rows = np.flatnonzero(self.other >= 0)
        return {
            (min(a, b), max(a, b)): d
            for a, b, d in zip(rows.tolist(), self.other[rows].tolist(), self.distance[rows].tolist(), strict=True)
        }


def _differ(kind: NDArray[np.int64], one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
    apart: NDArray[np.bool_] = (kind[one] != kind[two]) | (kind[one] < 0)
    return apart


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
