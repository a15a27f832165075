"""Intervals of shares and of means, each of 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dropkd.statistics.arrays import FloatArray, Interval

__all__ = [
    "NORMAL_QUANTILE",
    "Spread",
    "interval_of",
    "interval_of_share",
    "mean_and_spread",
    "percentile_interval",
    "student_quantile",
    "unpaired_margin",
    "wilson_interval",
]

# The normal quantile of a two-sided 95 % interval.
NORMAL_QUANTILE = 1.959963984540054

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom; above, Cornish-Fisher's first term is exact to 0.001.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


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
    scale = 1 + NORMAL_QUANTILE**2 / total
    centre = (share + NORMAL_QUANTILE**2 / (2 * total)) / scale
    half = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / total + NORMAL_QUANTILE**2 / (4 * total**2)) / scale
    # At both ends the exact bound is 0 or 1; rounding would leave 1e-17 of it.
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == total else min(1.0, centre + half)
    return low, high


def unpaired_margin(accuracy: float, images: int) -> float:
    """Return half the width of the 95 % interval of the difference of two such accuracies on separate images."""
    return NORMAL_QUANTILE * math.sqrt(2 * accuracy * (1 - accuracy) / images) if images else 1.0


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Return the mean of one value per seed, the standard deviation (n - 1) and Student's 95 % interval."""
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Spread(count, mean, None, None)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    half = student_quantile(count - 1) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, (mean - half, mean + half))


def percentile_interval(draws: FloatArray) -> Interval | None:
    """Return the interval between the percentiles of resampled values; None where most of them are undefined."""
    known = draws[~np.isnan(draws)]
    if len(known) < len(draws) / 2:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def interval_of(value: float, draws: FloatArray) -> Interval:
    """Return the interval of a value by the deviation of what was drawn, not by percentiles.

    For figures that images drawn twice raise a little, such as the average precision and the calibration error.
    """
    half = NORMAL_QUANTILE * float(np.nanstd(draws, ddof=1))
    return value - half, value + half


def interval_of_share(value: float, draws: FloatArray) -> Interval:
    """Return the same within 0 and 1."""
    low, high = interval_of(value, draws)
    return max(0.0, low), min(1.0, high)


def student_quantile(degrees: int) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    return NORMAL_QUANTILE + (NORMAL_QUANTILE**3 + NORMAL_QUANTILE) / (4 * degrees)
