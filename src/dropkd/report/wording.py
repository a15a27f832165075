"""How a report writes figures: one place, so that the same number never looks two ways."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dropkd.statistics.arrays import Interval

__all__ = [
    "count",
    "decimal",
    "duration",
    "interval_of_percents",
    "interval_of_points",
    "join_words",
    "p_value",
    "percent",
    "plural",
    "points",
    "rough_percent",
    "whole_percent",
]

# A number and its unit stay on one line.
_SPACE = "\u00a0"
_MINUS = "\u2212"
_MISSING = "\u2013"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction as a percentage, e.g. 0.881 as ``88.1 %``; None as a dash."""
    if fraction is None or not math.isfinite(fraction):
        return _MISSING
    return f"{100 * fraction:.{digits}f}{_SPACE}%"


def whole_percent(fraction: float) -> str:
    """Write a round fraction as on an axis: ``85 %``, ``97.5 %``, ``99.95 %``."""
    return f"{100 * fraction:.4g}{_SPACE}%"


def rough_percent(fraction: float) -> str:
    """Write a ratio with as many digits as a reader needs: ``95 %``, ``1.2 %``, ``0.08 %``."""
    value = 100 * fraction
    digits = 0 if value >= 9.5 else 1 if value >= 0.95 else 2
    return f"{value:.{digits}f}{_SPACE}%"


def points(difference: float | None, digits: int = 1) -> str:
    """Write a difference of two fractions in signed percentage points, e.g. ``+0.6``; zero without a sign."""
    if difference is None or not math.isfinite(difference):
        return _MISSING
    text = f"{abs(100 * difference):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{'+' if difference > 0 else _MINUS}{text}"


def interval_of_percents(interval: Interval) -> str:
    """Write an interval of fractions, e.g. ``86.6 to 89.4 %``."""
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"


def interval_of_points(interval: Interval) -> str:
    """Write an interval of differences, e.g. ``-0.8 to +2.0``."""
    return f"{points(interval[0])} to {points(interval[1])}"


def p_value(value: float) -> str:
    """Write a p-value, e.g. ``p = 0.043`` or ``p < 0.001``."""
    if value < 0.001:
        return f"p{_SPACE}<{_SPACE}0.001"
    return f"p{_SPACE}={_SPACE}{value:.2f}" if value >= 0.1 else f"p{_SPACE}={_SPACE}{value:.3f}"


def count(value: float | None) -> str:
    """Write a whole number with commas, e.g. ``78,330``."""
    return _MISSING if value is None else f"{round(value):,}"


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Write a number with its noun, e.g. ``1 image``, ``2,000 images``."""
    return f"{number:,}{_SPACE}{noun if number == 1 else nouns or noun + 's'}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Write a plain number to some significant digits, e.g. ``0.412``, ``1.5e-05``."""
    if value is None:
        return _MISSING
    if not math.isfinite(value):
        return str(value)
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 < abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", _MINUS)


def duration(seconds: float | None) -> str:
    """Write a time span, e.g. ``48 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None or not math.isfinite(seconds):
        return _MISSING
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min{_SPACE}{whole % 60:02d}{_SPACE}s"
    return f"{whole // 3600}{_SPACE}h{_SPACE}{whole % 3600 // 60:02d}{_SPACE}min"


def join_words(words: Sequence[str]) -> str:
    """Join words as a sentence does: ``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
