"""The statistics of a report: intervals, paired comparisons, confusion; on numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "Interval",
    "PairedComparison",
    "Spread",
    "compare_paired",
    "confusion_counts",
    "mcnemar_p_value",
    "mean_and_spread",
    "unpaired_margin",
    "wilson_interval",
    "worst_pairs",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Interval = tuple[float, float]

# The normal quantile of a two-sided 95 % interval.
_Z = 1.959963984540054

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom; above, Cornish-Fisher's first term is exact to 0.001.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip

# Up to here the binomial tail is summed exactly; above, the normal approximation differs by less than 0.001.
_EXACT_LIMIT = 1000


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers' answers to the same images.

    Args:
        images: how many images both answered.
        gained: images that the first has right and the second wrong.
        lost: images that the second has right and the first wrong.
        difference: accuracy of the first minus that of the second, a fraction.
        interval: its 95 % interval.
        p_value: McNemar's two-sided test of no difference.
    """

    images: int
    gained: int
    lost: int
    difference: float
    interval: Interval
    p_value: float

    @property
    def verdict(self) -> str:
        """Return ``better``, ``worse`` or ``unclear``: whether the interval leaves out zero, and on which side."""
        if self.interval[0] > 0:
            return "better"
        return "worse" if self.interval[1] < 0 else "unclear"


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation and 95 % interval of the mean over seeds; the last two need two values."""

    count: int
    mean: float
    deviation: float | None
    interval: Interval | None


def wilson_interval(right: int, total: int) -> Interval:
    """Return Wilson's 95 % interval of a proportion; it stays within [0, 1] and is sound near both ends.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(9, 10)]
        [0.596, 0.982]
    """
    if total == 0:
        return 0.0, 1.0
    share = right / total
    scale = 1 + _Z**2 / total
    centre = (share + _Z**2 / (2 * total)) / scale
    half = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2)) / scale
    # At both ends the exact bound is 0 or 1; rounding would leave 1e-17 of it.
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == total else min(1.0, centre + half)
    return low, high


def unpaired_margin(accuracy: float, images: int) -> float:
    """Return half the width of the 95 % interval of the difference of two such accuracies on separate images."""
    return _Z * math.sqrt(2 * accuracy * (1 - accuracy) / images) if images else 1.0


def mcnemar_p_value(gained: int, lost: int) -> float:
    """Return McNemar's two-sided p-value: exact up to 1,000 differing images, above normal with continuity correction.

    Example:
        >>> round(mcnemar_p_value(8, 2), 4)  # 2 * (1 + 10 + 45) / 2**10
        0.1094
    """
    total = gained + lost
    if total == 0:
        return 1.0
    if total <= _EXACT_LIMIT:
        tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1))
        return min(1.0, float(2 * tail / 2**total))
    z = max(0.0, abs(gained - lost) - 1) / math.sqrt(total)
    return math.erfc(z / math.sqrt(2))


def compare_paired(first_right: BoolArray, second_right: BoolArray) -> PairedComparison:
    """Compare two classifiers on the same images, in the same order.

    The interval is Wald's with half an image added to each of the four cells.

    References:
        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
        Medicine, 2005.
    """
    images = len(first_right)
    gained = int(np.count_nonzero(first_right & ~second_right))
    lost = int(np.count_nonzero(~first_right & second_right))
    difference = (gained - lost) / images if images else 0.0
    adjusted, size = (gained - lost) / (images + 2), images + 2
    half = _Z * math.sqrt((gained + lost + 1) / size - adjusted**2) / math.sqrt(size)
    interval = max(-1.0, adjusted - half), min(1.0, adjusted + half)
    return PairedComparison(images, gained, lost, difference, interval, mcnemar_p_value(gained, lost))


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Return the mean of one value per seed, the standard deviation (n - 1) and Student's 95 % interval."""
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Spread(count, mean, None, None)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    half = _student_quantile(count - 1) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, (mean - half, mean + half))


def confusion_counts(target: IntArray, prediction: IntArray, num_classes: int) -> IntArray:
    """Return (K, K) counts: row = the true class, column = the answer."""
    flat = np.bincount(target * num_classes + prediction, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def worst_pairs(target: IntArray, prediction: IntArray, limit: int) -> list[tuple[int, int, int]]:
    """Return the commonest mistakes as (true class, answer, count), most frequent first; ties by class number."""
    wrong = target != prediction
    pairs, counts = np.unique(np.stack([target[wrong], prediction[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:limit]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order]


def _student_quantile(degrees: int) -> float:
    if degrees <= len(_T):
        return _T[degrees - 1]
    return _Z + (_Z**3 + _Z) / (4 * degrees)
