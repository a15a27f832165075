"""How much two networks' maps agree, beside what maps of different images agree by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dropkd.statistics.arrays import BoolArray, FloatArray, Interval
from dropkd.statistics.intervals import percentile_interval
from dropkd.statistics.resampling import draw_statistics

__all__ = [
    "Agreement",
    "mark_highest",
    "measure_agreement",
    "overlap",
    "rank_correlation",
    "sample_map",
    "share_points",
]

# Points a side at which two maps are compared; finer than any of their grids.
_POINTS = 32
# Part of the positions that counts as where a network looks most.
_TOP = 0.2


@dataclass(frozen=True)
class Agreement:
    """How much the maps of two networks agree on average.

    Args:
        images: over how many; those on which one network sees nothing for the class are not among them.
        without: how many those are.
        rank_correlation: the mean of Spearman's correlation over the positions, -1..1.
        rank_interval: its 95 % interval on other images.
        other_rank_correlation: the same where the two maps are of different images: what comes of both networks'
            looking at the middle, say. None for a single image.
        overlap: the mean of the intersection over the union of the top fifth of the positions, 0..1.
        overlap_interval: its 95 % interval.
        other_overlap: the same for different images.
    """

    images: int
    without: int
    rank_correlation: float
    rank_interval: Interval | None
    other_rank_correlation: float | None
    overlap: float
    overlap_interval: Interval | None
    other_overlap: float | None


def sample_map(values: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Return a map's values at points, bilinear between the centres of its cells and constant beyond them.

    Args:
        values: (H, W).
        rows: (P,) how far down, 0..1.
        columns: (Q,) how far to the right, 0..1.

    Returns:
        (P, Q).

    Example:
        >>> sample_map(np.array([[0.0, 1.0]]), np.array([0.5]), np.array([0.0, 0.5, 0.75])).tolist()
        [[0.0, 0.5, 1.0]]
    """
    return _weights(rows, values.shape[0]) @ values @ _weights(columns, values.shape[1]).T


def _weights(points: FloatArray, cells: int) -> FloatArray:
    """Return (P, cells), how much each cell counts at each point."""
    place = np.clip(points * cells - 0.5, 0, cells - 1)
    low = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    found = np.zeros((len(points), cells))
    row = np.arange(len(points))
    found[row, low] = 1 - (place - low)
    found[row, np.minimum(low + 1, cells - 1)] += place - low
    return found


def share_points(one: FloatArray, seen: tuple[float, float], other_seen: tuple[float, float]) -> FloatArray:
    """Return a map's values at 32 x 32 points of what both networks are shown.

    Args:
        one: (H, W).
        seen: height and width of the centred part of the image that this network is shown, as shares of the image.
        other_seen: the same of the other network.
    """
    even = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    rows, columns = (even * min(a, b) / a + 0.5 for a, b in zip(seen, other_seen, strict=True))
    return sample_map(one, rows, columns)


def rank_correlation(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return Spearman's correlation of each row of one with each row of the other, (N, M); NaN for constant rows.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 4.0]]), np.array([[0.0, 5.0, 9.0], [2.0, 1.0, 0.0]])).tolist()
        [[1.0, -1.0]]
    """
    first, second = (_standardise(np.stack([_rank(row) for row in rows])) for rows in (one, other))
    correlations: FloatArray = np.round(first @ second.T, 12)
    return correlations


def overlap(one: FloatArray, other: FloatArray, top: float = _TOP) -> FloatArray:
    """Return the intersection over the union of the highest values of each row with those of each row, (N, M).

    Where fewer than the top part are above 0, these are all that counts.
    """
    first, second = (np.stack([mark_highest(row, top) for row in rows]).astype(np.float64) for rows in (one, other))
    both = first @ second.T
    either = first.sum(1)[:, None] + second.sum(1)[None] - both
    shares: FloatArray = np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)
    return shares


def measure_agreement(one: Sequence[FloatArray], other: Sequence[FloatArray], without: int = 0) -> Agreement | None:
    """Return how much maps agree, pair by pair; None where there is no pair.

    Args:
        one: of the one network, at the points that both share, see :func:`share_points`.
        other: of the other, of the same images.
        without: how many images were left out.
    """
    if not one:
        return None
    first, second = (np.stack([values.reshape(-1) for values in maps]) for maps in (one, other))
    ranks, tops = rank_correlation(first, second), overlap(first, second)
    known = ~(np.isnan(np.diag(ranks)) | np.isnan(np.diag(tops)))
    if not known.any():
        return None
    ranks, tops = ranks[np.ix_(known, known)], tops[np.ix_(known, known)]
    count = int(known.sum())
    return Agreement(count, without + int((~known).sum()), *_average(ranks), *_average(tops))


def _average(table: FloatArray) -> tuple[float, Interval | None, float | None]:
    """Return the mean over pairs of the same image, its interval, and the mean over pairs of different ones."""
    same, count = np.diag(table), len(table)
    if count < 2:
        return float(same.mean()), None, None
    draws = draw_statistics({"mean": lambda weights: weights @ same / count}, count)["mean"]
    others = (np.nansum(table) - same.sum()) / (count * count - count)
    return float(same.mean()), percentile_interval(draws), float(others)


def _rank(row: FloatArray) -> FloatArray:
    """Return ranks; ties get the mean of theirs."""
    _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: FloatArray = (last - (counts - 1) / 2)[inverse]
    return ranks


def _standardise(rows: FloatArray) -> FloatArray:
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled: FloatArray = np.divide(centred, length, out=np.full_like(centred, np.nan), where=length > 0)
    return scaled


def mark_highest(row: FloatArray, top: float = _TOP) -> BoolArray:
    """Return which of the values (N,) are in the top part and above 0; ties at the edge are all in."""
    count = max(1, round(top * len(row)))
    edge = np.partition(row, -count)[-count]
    chosen: BoolArray = (row >= edge) & (row > 0)
    return chosen
