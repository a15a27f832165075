"""Curves and courses as characters: four rows and two columns of dots in each, or eight heights of a bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

from dropkd.report.event_log import Points

__all__ = ["Curve", "draw_course", "draw_plane"]

_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "._-=+*%#"
# The first of Unicode's 256 patterns of eight dots, and the bit of each dot by row and column.
_BLANK = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True)
class Curve:
    """Points of one colour; those of a later curve cover those of an earlier one."""

    points: Points
    style: str


def draw_course(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return a row of bars, one for each run of values, from their lowest to their highest.

    Example:
        >>> draw_course([0, 1, 2, 3, 4, 5, 6, 7], 8)
        '▁▂▃▄▅▆▇█'
        >>> draw_course([3, 1, 1, 3], 2)
        '▅▅'
        >>> draw_course([], 5)
        ''
    """
    known = [value for value in values if math.isfinite(value)]
    if not known or width < 1:
        return ""
    cells = min(width, len(known))
    edges = [round(k * len(known) / cells) for k in range(cells + 1)]
    means = [math.fsum(known[a:b]) / (b - a) for a, b in pairwise(edges)]
    bars, low, span = _ASCII_BARS if ascii_only else _BARS, min(means), max(means) - min(means)
    # A course without change is a line in the middle.
    return "".join(bars[round((mean - low) / span * 7) if span > 0 else 4] for mean in means)


def draw_plane(curves: Sequence[Curve], width: int, height: int, write: Callable[[float], str]) -> list[Text]:
    """Return the lines of a plane with its lowest and highest value at the left; none where there is no point.

    Args:
        curves: what is drawn.
        width: characters, the values' place among them.
        height: lines.
        write: writes a value.
    """
    shown = [Curve([p for p in c.points if math.isfinite(p[1])], c.style) for c in curves]
    points = [point for curve in shown for point in curve.points]
    if not points or height < 1:
        return []
    low, high = min(y for _, y in points), max(y for _, y in points)
    labels = [write(high), *[""] * (height - 2), write(low)] if height > 1 else [write(high)]
    room = max(map(len, labels))
    cells = max(1, width - room - 2)
    xs = [x for x, _ in points]
    plane = _Plane(cells, height, (min(xs), max(xs)), (low, high))
    for curve in shown:
        plane.draw(curve)
    lines = []
    for label, row in zip(labels, plane.rows, strict=True):
        line = Text(f"{label:>{room}} ", style="dim", no_wrap=True)
        line.append("│" if label == "" else "┤", style="dim")
        for pattern, style in row:
            line.append(chr(_BLANK + pattern), style=style)
        lines.append(line)
    return lines


class _Plane:
    """Dots in rows of characters."""

    def __init__(self, width: int, height: int, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.rows: list[list[tuple[int, str]]] = [[(0, "")] * width for _ in range(height)]
        self._columns, self._lines = 2 * width, 4 * height
        self._across, self._up = across, up

    def draw(self, curve: Curve) -> None:
        """Draw straight lines from point to point."""
        places = [self._place(x, y) for x, y in curve.points]
        for (x0, y0), (x1, y1) in zip(places, places[1:] or places, strict=False):
            dots = max(abs(x1 - x0), abs(y1 - y0), 1)
            for k in range(dots + 1):
                self._dot(round(x0 + (x1 - x0) * k / dots), round(y0 + (y1 - y0) * k / dots), curve.style)

    def _place(self, x: float, y: float) -> tuple[int, int]:
        column = _share(x, self._across) * (self._columns - 1)
        line = (1 - _share(y, self._up)) * (self._lines - 1)
        return round(column), round(line)

    def _dot(self, column: int, line: int, style: str) -> None:
        row, cell = self.rows[line // 4], column // 2
        row[cell] = (row[cell][0] | _DOTS[line % 4][column % 2], style)


def _share(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return (value - low) / (high - low) if high > low else 0.5
