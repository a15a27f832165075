"""The parts that every chart is made of: elements, scales, ticks, axes.

Charts are plain SVG text in the page. Colours come from the page's style sheet by class, never from an attribute, so
that one chart serves the light theme, the dark one and paper; ``style`` attributes would break the page's
Content-Security-Policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Scale", "element", "even_ticks", "frame", "join", "number", "text"]


def number(value: float) -> str:
    """Write a coordinate with at most one decimal."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def element(tag: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """Return an SVG element; ``class_`` stands for ``class`` and ``text_anchor`` for ``text-anchor``."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(number(v) if isinstance(v, int | float) else v)}"'
        for name, v in attributes.items()
    )
    inside = join(children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>")  # noqa: S704  (every part is escaped above)


def join(parts: Iterable[Markup | str]) -> Markup:
    """Join parts, escaping plain text."""
    return Markup("").join(parts)


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "tick") -> Markup:
    """Return a line of text at a baseline point."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


@dataclass(frozen=True)
class Scale:
    """Maps values to coordinates.

    Args:
        low: the value at ``start``.
        high: the value at ``end``.
        start: a coordinate.
        end: a coordinate.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def even_ticks(low: float, high: float, wanted: int = 4, *, whole: bool = False) -> list[float]:
    """Return round numbers that span ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: smallest value to cover.
        high: largest value to cover.
        wanted: about how many steps.
        whole: only whole numbers (epochs, steps).
    """
    # Values that differ by rounding alone count as equal.
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-9):
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def frame(width: float, height: float, title: str, description: str, parts: Sequence[Markup]) -> Markup:
    """Return a whole drawing, named for those who can't see it."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=f"{title}. {description}",
    )
