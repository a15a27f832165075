"""How surprising a difference would be if there were none, and what many such questions at once cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dropkd.statistics.arrays import FloatArray, Interval
from dropkd.statistics.intervals import student_quantile

__all__ = ["bootstrap_p_value", "holm", "student_p_value", "t_test_p_value", "welch_test"]


def student_p_value(t: float, degrees: int) -> float:
    """Return the two-sided p-value of Student's t, by the finite series for whole degrees of freedom.

    References:
        Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.3 and 26.7.4.

    Example:
        >>> round(student_p_value(2.776, 4), 3)
        0.05
    """
    if math.isinf(t):
        return 0.0
    angle = math.atan(abs(t) / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    term = cosine if degrees % 2 else 1.0
    total = 0.0
    for k in range(degrees % 2 + 2, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    within = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
    return max(0.0, 1.0 - within)


def t_test_p_value(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the paired t-test; None for fewer than two differences.

    Example:
        >>> round(t_test_p_value([0.01, 0.02, 0.03]), 3)
        0.074
    """
    count = len(differences)
    if count < 2:
        return None
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    # Equal differences leave rounding, not a deviation.
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return student_p_value(mean / (deviation / math.sqrt(count)), count - 1)


def welch_test(first: Sequence[float], second: Sequence[float]) -> tuple[Interval, float] | None:
    """Return the 95 % interval of the difference of two means of unpaired values, and its two-sided p-value.

    Degrees of freedom are rounded down, which errs on the careful side. None where either has fewer than two values, or
    where neither varies.

    References:
        Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved",
        Biometrika, 1947.
    """
    if min(len(first), len(second)) < 2:
        return None
    shares = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    error = math.sqrt(sum(shares))
    value = float(np.mean(first) - np.mean(second))
    if error <= 1e-12 * max(1.0, abs(value)):
        return None
    weights = zip(shares, (len(first), len(second)), strict=True)
    degrees = max(1, int(sum(shares) ** 2 / sum(share**2 / (count - 1) for share, count in weights)))
    half = student_quantile(degrees) * error
    return (value - half, value + half), student_p_value(value / error, degrees)


def bootstrap_p_value(draws: FloatArray) -> float:
    """Return the two-sided p-value of no difference by the draws of the difference: how often they cross zero.

    It is no smaller than 2 / (draws + 1).
    """
    known = draws[~np.isnan(draws)]
    below, above = int((known <= 0).sum()), int((known >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(known) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for asking so many questions at once, in the given order.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, p_values[k] * (len(p_values) - rank)))
        corrected[k] = highest
    return corrected
