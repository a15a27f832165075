"""Points of two figures each, such as accuracy and cost, with the best trade-offs marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.charts import Chart
from dropkd.report.plane import Plane, Size, lay_plane_of
from dropkd.report.svg import element, even_ticks, frame, number, text
from dropkd.statistics.arrays import Interval

__all__ = ["Place", "draw_scatter", "find_front"]

_SIZE = Size(380.0, 300.0, 5, 5)
# From this ratio of the largest to the smallest x on, the axis is logarithmic.
_WIDE = 5.0
_MOST_NUMBERED = 12
# How far apart points of one cost are drawn, and how far from their true place at most.
_STEP, _REACH = 9.0, 18.0
# Where a point's number may stand, nearest first.
_SIDES = ((9, 4, "start"), (-9, 4, "end"), (0, -9, "middle"), (0, 18, "middle"), (22, 4, "start"), (-22, 4, "end"))


@dataclass(frozen=True)
class Place:
    """A point.

    Args:
        name: what it is of.
        look: its class in the style sheet.
        x: what it costs, above 0.
        y: how good it is.
        interval: 95 % interval of y, or None.
        single: the points that it is the mean of.
        number: how it is called in the drawing and in the table beside it.
    """

    name: str
    look: str
    x: float
    y: float
    interval: Interval | None = None
    single: tuple[tuple[float, float], ...] = ()
    number: int = 0


def find_front(places: Sequence[Place]) -> list[int]:
    """Return the numbers of the places that no other beats: none is as good for less, or better for as much.

    Example:
        >>> find_front([Place("a", "", 1, 0.7), Place("b", "", 2, 0.6), Place("c", "", 3, 0.9)])
        [0, 2]
    """
    front, best = [], -math.inf
    for number_of in sorted(range(len(places)), key=lambda k: (places[k].x, -places[k].y)):
        if places[number_of].y > best:
            best = places[number_of].y
            front.append(number_of)
    return front


def draw_scatter(
    title: str,
    places: Sequence[Place],
    *,
    x_name: str,
    write_x: Callable[[float], str],
    write_x_tick: Callable[[float], str],
    write_y: Callable[[float], str],
    write_y_tick: Callable[[float], str],
    note: str = "",
) -> Chart | None:
    """Draw points with their intervals and the line of the best trade-offs, or return None where all cost the same.

    Intervals that reach far beyond all points are cut, and have no end then.
    """
    xs = [x for place in places for x in (place.x, *(x for x, _ in place.single))]
    if len(set(xs)) < 2:
        return None
    is_log = max(xs) / min(xs) >= _WIDE
    turn: Callable[[float], float] = math.log10 if is_log else float
    low, high = turn(min(xs)), turn(max(xs))
    pad = 0.08 * (high - low)
    ticks = _log_ticks(min(xs), max(xs)) if is_log else even_ticks(min(xs), max(xs))
    marks = [(turn(v), write_x_tick(v)) for v in ticks if v > 0 and low - pad <= turn(v) <= high + pad]
    reach, scale = _find_reach(places), ", logarithmic" if is_log else ""
    plane = lay_plane_of(_SIZE, (low - pad, high + pad), marks, reach, write_y_tick, f"{x_name}{scale}")
    front = find_front(places)
    parts = [plane.grid, _draw_front([places[k] for k in front], plane, turn)]
    spots = _find_spots(places, plane, turn)
    told = [_tell(place, write_x, write_y) for place in places]
    parts += [_draw_place(*drawn, plane) for drawn in zip(places, spots, told, strict=True)]
    # The numbers of very many points would hide them; tooltips and the table still tell them apart.
    numbered = range(len(places)) if len(places) <= _MOST_NUMBERED else front
    parts += _draw_numbers(numbered, places, spots, plane)
    words = "; ".join(f"{told[k]}{', a best trade-off' if k in front else ''}" for k in range(len(places)))
    return Chart(title, frame(_SIZE.width, _SIZE.height, title, words, parts), (), note)


def _find_reach(places: Sequence[Place]) -> list[float]:
    """Return the lowest and the highest y to be shown: all points, and intervals unless they dwarf what they are of."""
    points = [y for place in places for y in (place.y, *(y for _, y in place.single))]
    low, high = min(points), max(points)
    room = max(high - low, 0.04)
    bounds = [bound for place in places for bound in place.interval or ()]
    return [max(low - room, min([low, *bounds]), 0.0), min(high + room, max([high, *bounds]), 1.0)]


def _tell(place: Place, write_x: Callable[[float], str], write_y: Callable[[float], str]) -> str:
    return f"{place.name}: {write_y(place.y)} at {write_x(place.x)}"


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, and where those are few the steps 1, 2, 5 between them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [10.0**p for p in powers if low <= 10.0**p <= high]
    if len(whole) >= 3:
        return whole
    steps = (1, 2, 5) if high / low < 100 else (1, 3)
    return [m * 10.0**p for p in powers for m in steps if low * 0.9 <= m * 10.0**p <= high * 1.1]


def _draw_front(front: Sequence[Place], plane: Plane, turn: Callable[[float], float]) -> Markup:
    """Draw the best that can be had for each cost, as steps to the right."""
    stops = [(plane.x(turn(place.x)), plane.y(place.y)) for place in front]
    path = f"M{number(stops[0][0])} {number(stops[0][1])}"
    path += "".join(f"H{number(x)}V{number(y)}" for x, y in stops[1:])
    return element("path", d=f"{path}H{number(plane.x.end)}", class_="front")


def _find_spots(places: Sequence[Place], plane: Plane, turn: Callable[[float], float]) -> list[tuple[float, float]]:
    """Return where each point is drawn: those of one cost stand side by side, so that none hides another."""
    spots = []
    for k, place in enumerate(places):
        alike = [number for number, other in enumerate(places) if other.x == place.x]
        step = min(_STEP, 2 * _REACH / len(alike))
        aside = step * (alike.index(k) - (len(alike) - 1) / 2)
        spots.append((plane.x(turn(place.x)) + aside, plane.y(place.y)))
    return spots


def _draw_place(place: Place, spot: tuple[float, float], words: str, plane: Plane) -> Markup:
    x, y = spot
    parts = [element("title", words)]
    if place.interval is not None:
        bounds = [min(max(bound, plane.y.low), plane.y.high) for bound in place.interval]
        ends = [plane.y(bound) for bound, whole in zip(bounds, place.interval, strict=True) if bound == whole]
        path = f"M{number(x)} {number(plane.y(bounds[0]))}V{number(plane.y(bounds[1]))}"
        path += "".join(f"M{number(x - 4)} {number(end)}h8" for end in ends)
        parts.append(element("path", d=path, class_=f"whisker {place.look}"))
    parts += [element("circle", cx=x, cy=plane.y(py), r=2.6, class_=f"seed {place.look}") for _, py in place.single]
    parts.append(element("circle", cx=x, cy=y, r=5, class_=f"dot {place.look}"))
    return element("g", *parts)


def _draw_numbers(
    numbered: Sequence[int], places: Sequence[Place], spots: Sequence[tuple[float, float]], plane: Plane
) -> list[Markup]:
    """Write points' numbers beside them, each where no other point or number stands if there is such a side."""
    taken = list(spots)
    written = []
    for k in numbered:
        x, y = spots[k]
        best = max(_SIDES, key=lambda side: _room(_middle(x, y, side), taken, (x, y), plane))
        taken.append(_middle(x, y, best))
        written.append(text(x + best[0], y + best[1], str(places[k].number), anchor=best[2], kind="label"))
    return written


def _middle(x: float, y: float, side: tuple[float, float, str]) -> tuple[float, float]:
    """Return the middle of a number that stands on a side of a point."""
    across, down, anchor = side
    return x + across + {"start": 4, "end": -4}.get(anchor, 0), y + down - 4


def _room(
    spot: tuple[float, float], taken: Sequence[tuple[float, float]], own: tuple[float, float], plane: Plane
) -> float:
    """Return how far the nearest point or number is, at most 12, and less than nothing outside the plane."""
    x, y = spot
    if not plane.x.start - 4 <= x <= plane.x.end + 8 or not 4 <= y <= plane.floor:
        return -1.0
    return min([12.0, *(math.hypot(x - px, y - py) for px, py in taken if (px, py) != own)])
