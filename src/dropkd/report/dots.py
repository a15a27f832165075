"""Dots with intervals: a few accuracies side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.charts import Chart
from dropkd.report.svg import Scale, element, even_ticks, frame, number, text
from dropkd.statistics.arrays import Interval

__all__ = ["Dot", "draw_dots"]

_WIDTH, _ROW, _MARGIN = 380.0, 38.0, 12.0
_LONGEST_NAME = 36


@dataclass(frozen=True)
class Dot:
    """A value with its interval, one row of the plot.

    Args:
        name: what it is of.
        look: its class in the style sheet.
        value: a fraction.
        interval: its 95 % interval, or None where it can't be told.
        label: the figure in words.
        single: the values that it is the mean of.
    """

    name: str
    look: str
    value: float
    interval: Interval | None
    label: str
    single: tuple[float, ...] = ()


def draw_dots(title: str, dots: Sequence[Dot], *, write: Callable[[float], str], note: str = "") -> Chart | None:
    """Draw one row per value with its interval, or return None where there are none."""
    if not dots:
        return None
    reached = [v for d in dots for v in (d.value, *(d.interval or ()), *d.single)]
    ticks = [t for t in even_ticks(min(reached), max(reached), 4) if -1e-9 <= t <= 1 + 1e-9]
    x = Scale(ticks[0], ticks[-1], _MARGIN, _WIDTH - _MARGIN)
    bottom = _ROW * len(dots)
    parts = [element("path", d=f"M{number(x(t))} 0V{number(bottom + 4)}", class_="grid") for t in ticks]
    parts += [text(x(t), bottom + 18, write(t), anchor=_anchor(t, ticks)) for t in ticks]
    parts += [_draw_row(dot, x, _ROW * k) for k, dot in enumerate(dots)]
    words = "; ".join(f"{d.name}: {d.label}" for d in dots)
    return Chart(title, frame(_WIDTH, bottom + 24, title, words, parts), (), note)


def _draw_row(dot: Dot, x: Scale, top: float) -> Markup:
    line = top + 25
    parts = [element("title", f"{dot.name}: {dot.label}"), text(_MARGIN, top + 13, _shorten(dot.name), kind="label")]
    parts.append(text(_WIDTH - _MARGIN, top + 13, dot.label, anchor="end", kind="figure"))
    if dot.interval:
        low, high = (x(min(max(bound, x.low), x.high)) for bound in dot.interval)
        ends = "".join(f"M{number(place)} {number(line - 4)}v8" for place in (low, high))
        parts.append(
            element("path", d=f"M{number(low)} {number(line)}H{number(high)}{ends}", class_=f"whisker {dot.look}")
        )
    parts += [element("circle", cx=x(v), cy=line, r=2.6, class_=f"seed {dot.look}") for v in dot.single]
    parts.append(element("circle", cx=x(dot.value), cy=line, r=5, class_=f"dot {dot.look}"))
    return element("g", *parts)


def _anchor(tick: float, ticks: Sequence[float]) -> str:
    return "start" if tick == ticks[0] else "end" if tick == ticks[-1] else "middle"


def _shorten(words: str) -> str:
    return words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 1].rstrip() + "\u2026"
