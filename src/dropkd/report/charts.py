"""The charts of a report: curves, stacked shares and dots with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.event_log import Points
from dropkd.report.numbers import Interval
from dropkd.report.svg import Scale, element, even_ticks, frame, join, number, text

__all__ = ["Chart", "Dot", "Key", "Series", "draw_curves", "draw_dots", "draw_shares"]

# A phone shows a chart 343 px wide, so 12 units of text are 11 px there.
_WIDTH, _HEIGHT = 380.0, 224.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 10.0, 12.0, 40.0
# More points than pixels only make the file larger.
_MOST_POINTS = 240
_MOST_MARKERS = 16


@dataclass(frozen=True)
class Series:
    """A curve.

    Args:
        name: its name in the key.
        look: its class in the style sheet, which gives colour and dashes.
        points: (x, y) in order of x.
        level: a level rather than a curve: one value, drawn across the chart.
    """

    name: str
    look: str
    points: Points
    level: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key: the name, its look, and the last value."""

    name: str
    look: str
    value: str


@dataclass(frozen=True)
class Chart:
    """A drawing with what stands around it."""

    title: str
    drawing: Markup
    keys: tuple[Key, ...]
    note: str = ""


@dataclass(frozen=True)
class Dot:
    """A value with its interval, one row of a dot plot.

    Args:
        name: what it is of.
        look: its class in the style sheet.
        value: a fraction.
        interval: its 95 % interval, or None where it can't be told.
        label: the figure in words.
    """

    name: str
    look: str
    value: float
    interval: Interval | None
    label: str


def draw_curves(
    title: str,
    series: Sequence[Series],
    *,
    write: Callable[[float], str],
    x_name: str = "epoch",
    mark: float | None = None,
    from_zero: bool = False,
    note: str = "",
) -> Chart | None:
    """Draw curves over epochs or steps, or return None where there is no point to draw.

    Args:
        title: what the values are.
        series: the curves; empty ones are left out.
        write: writes a value for the axis and the key.
        x_name: what x counts.
        mark: an x to mark: the selected epoch.
        from_zero: the y axis starts at 0.
        note: a sentence below the chart.
    """
    shown = [s for s in series if s.points]
    if not any(not s.level for s in shown):
        return None
    shown = [Series(s.name, s.look, _thin(s.points), s.level) for s in shown]
    x, y, grid = _axes(shown, write, x_name, from_zero)
    drawn = [_draw_mark(mark, x, y)] if mark is not None else []
    drawn += [_draw_series(s, x, y) for s in shown]
    keys = tuple(Key(s.name, s.look, write(s.points[-1][1])) for s in shown)
    hints = _draw_hints(shown, x, y, x_name, write)
    drawing = frame(_WIDTH, _HEIGHT, title, _describe(shown, x_name, write), [grid, *drawn, hints])
    return Chart(title, drawing, keys, note)


def draw_shares(title: str, series: Sequence[Series], *, write: Callable[[float], str], note: str = "") -> Chart | None:
    """Draw shares that add up to one as stacked areas over epochs, or return None where there are none."""
    shown = [s for s in series if s.points]
    if not shown:
        return None
    epochs = sorted({x for s in shown for x, _ in s.points})
    values = [dict(s.points) for s in shown]
    span = [Series("", "", [(e, v) for e in epochs for v in (0.0, 1.0)])]
    x, y, grid = _axes(span, write, "epoch", True)
    areas, below = [], dict.fromkeys(epochs, 0.0)
    for s, value in zip(shown, values, strict=True):
        above = {e: below[e] + value.get(e, 0.0) for e in epochs}
        # One epoch has no width; it is drawn as a bar across the chart.
        stops = [(x(e), e) for e in epochs] if len(epochs) > 1 else [(_LEFT, epochs[0]), (_WIDTH - _RIGHT, epochs[0])]
        outline = [(px, y(above[e])) for px, e in stops] + [(px, y(below[e])) for px, e in reversed(stops)]
        areas.append(element("path", d=_path(outline) + "Z", class_=f"area {s.look}"))
        below = above
    keys = tuple(Key(s.name, s.look, write(s.points[-1][1])) for s in shown)
    hints = _draw_hints(shown, x, y, "epoch", write)
    drawing = frame(_WIDTH, _HEIGHT, title, _describe(shown, "epoch", write), [*areas, grid, hints])
    return Chart(title, drawing, keys, note)


def draw_dots(title: str, dots: Sequence[Dot], *, write: Callable[[float], str], note: str = "") -> Chart | None:
    """Draw one row per value with its interval, or return None where there are none."""
    if not dots:
        return None
    bounds = [b for d in dots for b in (d.interval or (d.value, d.value))]
    ticks = even_ticks(min(bounds), max(bounds), 4)
    ticks = [t for t in ticks if -1e-9 <= t <= 1 + 1e-9] if max(bounds) <= 1 else ticks
    row, top = 38.0, 4.0
    x = Scale(ticks[0], ticks[-1], 14.0, _WIDTH - 14.0)
    bottom = top + row * len(dots)
    grid = [element("path", d=f"M{number(x(t))} {number(top)}V{number(bottom + 4)}", class_="grid") for t in ticks]
    labels = [text(x(t), bottom + 18, write(t), anchor=_anchor(t, ticks)) for t in ticks]
    rows = [_draw_dot(d, x, top + row * k) for k, d in enumerate(dots)]
    words = "; ".join(f"{d.name}: {d.label}" for d in dots)
    return Chart(title, frame(_WIDTH, bottom + 24, title, words, [*grid, *labels, *rows]), (), note)


def _axes(
    series: Sequence[Series], write: Callable[[float], str], x_name: str, from_zero: bool
) -> tuple[Scale, Scale, Markup]:
    xs = [p[0] for s in series if not s.level for p in s.points]
    ys = [p[1] for s in series for p in s.points] + ([0.0] if from_zero else [])
    across = _inner_ticks(min(xs), max(xs))
    up = even_ticks(min(ys), max(ys), 4)
    pad = 0.0 if max(xs) > min(xs) else 0.5
    x = Scale(min(xs) - pad, max(xs) + pad, _LEFT, _WIDTH - _RIGHT)
    y = Scale(up[0], up[-1], _HEIGHT - _BOTTOM, _TOP)
    lines = [element("path", d=f"M{number(_LEFT)} {number(y(v))}H{number(_WIDTH - _RIGHT)}", class_="grid") for v in up]
    left = [text(_LEFT - 6, y(v) + 4, write(v), anchor="end") for v in up]
    below = [text(x(v), _HEIGHT - _BOTTOM + 16, f"{v:,.0f}", anchor="middle") for v in across]
    base = element("path", d=f"M{number(_LEFT)} {number(y(up[0]))}H{number(_WIDTH - _RIGHT)}", class_="axis")
    name = text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name, anchor="middle", kind="tick name")
    return x, y, join([*lines, *left, *below, base, name])


def _inner_ticks(low: float, high: float) -> list[float]:
    ticks = [t for t in even_ticks(low, high, 5, whole=True) if low - 1e-9 <= t <= high + 1e-9]
    return ticks or [low]


def _draw_series(series: Series, x: Scale, y: Scale) -> Markup:
    if series.level:
        height = number(y(series.points[0][1]))
        return element("path", d=f"M{number(_LEFT)} {height}H{number(_WIDTH - _RIGHT)}", class_=f"line {series.look}")
    places = [(x(px), y(py)) for px, py in series.points]
    parts = [element("path", d=_path(places), class_=f"line {series.look}")] if len(places) > 1 else []
    if len(places) <= _MOST_MARKERS:
        parts += [element("circle", cx=px, cy=py, r=2.4, class_=f"dot {series.look}") for px, py in places]
    return join(parts)


def _draw_mark(mark: float, x: Scale, y: Scale) -> Markup:
    place, late = x(mark), mark > (x.low + x.high) / 2
    line = element("path", d=f"M{number(place)} {number(_TOP)}V{number(_HEIGHT - _BOTTOM)}", class_="mark")
    words = text(place + (-5 if late else 5), _HEIGHT - _BOTTOM - 6, "selected", anchor="end" if late else "start")
    return line + words


def _draw_hints(
    series: Sequence[Series], x: Scale, y: Scale, x_name: str, write: Callable[[float], str]
) -> Markup:
    """Lay an invisible strip over each x, whose tooltip tells the values there."""
    stops = sorted({px for s in series if not s.level for px, _ in s.points})
    if len(stops) > _MOST_POINTS // 2:
        return Markup("")
    strips, tables = [], [(s.name, dict(s.points)) for s in series if not s.level]
    for k, stop in enumerate(stops):
        left = x(stop) if k == 0 else (x(stops[k - 1]) + x(stop)) / 2
        right = x(stop) if k == len(stops) - 1 else (x(stops[k + 1]) + x(stop)) / 2
        left, right = (left - 6, right + 6) if len(stops) == 1 else (left, right)
        words = ", ".join(f"{name} {write(values[stop])}" for name, values in tables if stop in values)
        hint = element("title", f"{x_name} {stop:,.0f}: {words}")
        height = _HEIGHT - _BOTTOM - _TOP
        strips.append(element("rect", hint, x=left, y=_TOP, width=right - left, height=height, class_="hint"))
    return join(strips)


def _draw_dot(dot: Dot, x: Scale, top: float) -> Markup:
    line = top + 26
    parts = [text(14, top + 13, _shorten(dot.name, 34), kind="label"), element("title", f"{dot.name}: {dot.label}")]
    parts.append(text(_WIDTH - 14, top + 13, dot.label, anchor="end", kind="figure"))
    if dot.interval:
        low, high = x(dot.interval[0]), x(dot.interval[1])
        bar = f"M{number(low)} {number(line)}H{number(high)}"
        ends = "".join(f"M{number(p)} {number(line - 4)}v8" for p in (low, high))
        parts.append(element("path", d=bar + ends, class_=f"whisker {dot.look}"))
    parts.append(element("circle", cx=x(dot.value), cy=line, r=5, class_=f"dot {dot.look}"))
    return element("g", *parts)


def _anchor(tick: float, ticks: Sequence[float]) -> str:
    return "start" if tick == ticks[0] else "end" if tick == ticks[-1] else "middle"


def _shorten(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1].rstrip() + "\u2026"


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if k else 'M'}{number(px)} {number(py)}" for k, (px, py) in enumerate(places))


def _thin(points: Points) -> Points:
    """Keep the mean of equal runs of points where there are more than can be seen; first and last x stay."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    runs = [points[k : k + size] for k in range(0, len(points), size)]
    means = [(run[len(run) // 2][0], math.fsum(y for _, y in run) / len(run)) for run in runs]
    means[0], means[-1] = (points[0][0], means[0][1]), (points[-1][0], means[-1][1])
    return means


def _describe(series: Sequence[Series], x_name: str, write: Callable[[float], str]) -> str:
    parts = []
    for s in series:
        (first_x, first), (last_x, last) = s.points[0], s.points[-1]
        if s.level or len(s.points) == 1:
            parts.append(f"{s.name}: {write(last)}")
        else:
            parts.append(f"{s.name}: {write(first)} at {x_name} {first_x:,.0f}, {write(last)} at {last_x:,.0f}")
    return "; ".join(parts)
