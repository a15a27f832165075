"""Two classifiers on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dropkd.statistics.arrays import BoolArray, Interval
from dropkd.statistics.intervals import NORMAL_QUANTILE

__all__ = ["PairedComparison", "compare_paired", "mcnemar_p_value"]

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
    half = NORMAL_QUANTILE * math.sqrt((gained + lost + 1) / size - adjusted**2) / math.sqrt(size)
    interval = max(-1.0, adjusted - half), min(1.0, adjusted + half)
    return PairedComparison(images, gained, lost, difference, interval, mcnemar_p_value(gained, lost))
