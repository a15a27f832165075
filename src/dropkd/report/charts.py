"""Curves and stacked shares over epochs or steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from dropkd.report.event_log import Points
from dropkd.report.plane import LARGE, Plane, Size, lay_plane
from dropkd.report.svg import element, frame, join, number

__all__ = ["Chart", "Key", "Series", "draw_curves", "draw_shares"]

# More points than pixels only make the file larger.
_MOST_POINTS = 240
_MOST_MARKERS = 16
_MOST_HINTS = 120


@dataclass(frozen=True)
class Series:
    """A curve.

    Args:
        name: its name in the key.
        look: its class in the style sheet, which gives colour and dashes.
        points: (x, y) in order of x.
        is_level: a level rather than a curve: one value, drawn across the chart.
        is_faint: one of several seeds, drawn thin and without an entry in the key.
    """

    name: str
    look: str
    points: Points
    is_level: bool = False
    is_faint: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key: the name, its look, and the last value."""

    name: str
    look: str
    value: str


@dataclass(frozen=True)
class Chart:
    """A drawing with what stands around it; ``last`` is the last value of a lone curve, which needs no key."""

    title: str
    drawing: Markup
    keys: tuple[Key, ...]
    note: str = ""
    last: str = ""


def draw_curves(
    title: str,
    series: Sequence[Series],
    *,
    write: Callable[[float], str],
    write_tick: Callable[[float], str] | None = None,
    x_name: str = "epoch",
    mark: float | None = None,
    reach: Sequence[float] = (),
    note: str = "",
    size: Size = LARGE,
) -> Chart | None:
    """Draw curves, or return None where there is no point to draw.

    Args:
        title: what the values are.
        series: the curves; empty ones are left out.
        write: writes a value for the key and the words.
        write_tick: writes a value for the axis, where that is shorter.
        x_name: what x counts.
        mark: the x of the selected epoch.
        reach: values that the y axis must reach, e.g. 0.
        note: a sentence below the chart.
        size: of the drawing.
    """
    shown = [replace(s, points=_thin(s.points)) for s in series if s.points]
    curves = [s for s in shown if not s.is_level]
    if not curves:
        return None
    xs = [x for s in curves for x, _ in s.points]
    ys = [y for s in shown for _, y in s.points]
    plane = lay_plane(size, xs, [*ys, *reach], write_tick or write, x_name)
    marked = [plane.mark(mark, "selected")] if mark is not None and min(xs) <= mark <= max(xs) else []
    named = [s for s in shown if not s.is_faint]
    parts = [plane.grid, *marked, *(_draw_series(s, plane) for s in shown), _draw_hints(named, plane, x_name, write)]
    keys = tuple(Key(s.name, s.look, write(s.points[-1][1])) for s in named)
    drawing = frame(size.width, size.height, title, _describe(named, x_name, write), parts)
    if len(keys) == 1:
        return Chart(title, drawing, (), note, keys[0].value)
    return Chart(title, drawing, keys, note)


def draw_shares(
    title: str,
    series: Sequence[Series],
    *,
    write: Callable[[float], str],
    write_tick: Callable[[float], str] | None = None,
    note: str = "",
) -> Chart | None:
    """Draw shares that add up to one as stacked areas over epochs, or return None where there are none."""
    shown = [s for s in series if s.points]
    if not shown:
        return None
    epochs = sorted({x for s in shown for x, _ in s.points})
    plane = lay_plane(LARGE, epochs, (0.0, 1.0), write_tick or write, "epoch")
    areas, below = [], dict.fromkeys(epochs, 0.0)
    for s in shown:
        value = dict(s.points)
        above = {e: below[e] + value.get(e, 0.0) for e in epochs}
        areas.append(element("path", d=_outline(plane, below, above), class_=f"area {s.look}"))
        below = above
    keys = tuple(Key(s.name, s.look, write(s.points[-1][1])) for s in shown)
    parts = [plane.grid, *areas, _draw_hints(shown, plane, "epoch", write)]
    drawing = frame(LARGE.width, LARGE.height, title, _describe(shown, "epoch", write), parts)
    return Chart(title, drawing, keys, note)


def _outline(plane: Plane, below: dict[float, float], above: dict[float, float]) -> str:
    stops = [(plane.x(e), e) for e in above]
    if len(stops) == 1:
        # One epoch has no width; it is drawn as a bar across the chart.
        stops = [(plane.x.start, stops[0][1]), (plane.x.end, stops[0][1])]
    there = [(px, plane.y(above[e])) for px, e in stops]
    back = [(px, plane.y(below[e])) for px, e in reversed(stops)]
    return _path([*there, *back]) + "Z"


def _draw_series(series: Series, plane: Plane) -> Markup:
    faint = " faint" if series.is_faint else ""
    if series.is_level:
        height = plane.y(series.points[0][1])
        return element("path", d=plane.across(height), class_=f"line {series.look}")
    places = [(plane.x(px), plane.y(py)) for px, py in series.points]
    parts = [element("path", d=_path(places), class_=f"line {series.look}{faint}")] if len(places) > 1 else []
    if len(places) <= _MOST_MARKERS and not series.is_faint:
        parts += [element("circle", cx=px, cy=py, r=2.2, class_=f"point {series.look}") for px, py in places]
    return join(parts)


def _draw_hints(series: Sequence[Series], plane: Plane, x_name: str, write: Callable[[float], str]) -> Markup:
    """Lay a strip over each x, whose tooltip tells the values there."""
    tables = [(s.name, dict(s.points)) for s in series if not s.is_level]
    stops = sorted({x for _, values in tables for x in values})
    if len(stops) > _MOST_HINTS:
        return Markup("")
    strips, places = [], [plane.x(stop) for stop in stops]
    for k, stop in enumerate(stops):
        left = (places[k - 1] + places[k]) / 2 if k else plane.x.start
        right = (places[k] + places[k + 1]) / 2 if k < len(stops) - 1 else plane.x.end
        words = ", ".join(f"{name} {write(values[stop])}" for name, values in tables if stop in values)
        strips.append(plane.strip(left, right, f"{x_name} {stop:,.0f}: {words}"))
    return join(strips)


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
    """Say in words what the curves show, for those who can't see them."""
    parts = []
    for s in series:
        (first_x, first), (last_x, last) = s.points[0], s.points[-1]
        if s.is_level or len(s.points) == 1:
            parts.append(f"{s.name}: {write(last)}")
        else:
            parts.append(f"{s.name}: {write(first)} at {x_name} {first_x:,.0f}, {write(last)} at {last_x:,.0f}")
    return "; ".join(parts)
