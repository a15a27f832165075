"""The plane that curves are drawn in: its size, its two scales, grid and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dropkd.report.svg import Scale, element, even_ticks, join, number, text

__all__ = ["LARGE", "SMALL", "Plane", "Size", "lay_plane", "lay_plane_of"]

# Room for the labels of the y axis, for the mark's word above, for the labels of the x axis and its name below.
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 10.0, 20.0, 40.0


@dataclass(frozen=True)
class Size:
    """Width and height of a drawing in its own units, of which a line of text takes 12."""

    width: float
    height: float
    x_steps: int
    y_steps: int


# A phone shows a chart 343 px wide, so text is 11 px there; four small ones stand in a row on a wide screen.
LARGE = Size(380.0, 224.0, 6, 4)
SMALL = Size(260.0, 156.0, 4, 3)


@dataclass(frozen=True)
class Plane:
    """Two scales and what is drawn below the curves."""

    size: Size
    x: Scale
    y: Scale
    grid: Markup

    @property
    def floor(self) -> float:
        """Return the coordinate of the x axis."""
        return self.size.height - _BOTTOM

    def across(self, height: float) -> Markup:
        """Return the path data of a level line."""
        return Markup(f"M{number(self.x.start)} {number(height)}H{number(self.x.end)}")  # noqa: S704  (numbers)

    def up(self, place: float, above: float = 0.0) -> Markup:
        """Return the path data of an upright line, which may reach above the plane."""
        return Markup(f"M{number(place)} {number(_TOP - above)}V{number(self.floor)}")  # noqa: S704  (numbers)

    def strip(self, left: float, right: float, hint: str) -> Markup:
        """Return an invisible strip from top to floor with a tooltip."""
        height = self.floor - _TOP
        title = element("title", hint)
        return element("rect", title, x=left, y=_TOP, width=right - left, height=height, class_="hint")

    def mark(self, value: float, words: str) -> Markup:
        """Return a marked x, with its word above the plane."""
        place, is_late = self.x(value), value > (self.x.low + self.x.high) / 2
        word = text(place + (-5 if is_late else 5), _TOP - 6, words, anchor="end" if is_late else "start")
        return element("path", d=self.up(place, 14), class_="mark") + word


def lay_plane(
    size: Size, xs: Sequence[float], ys: Sequence[float], write: Callable[[float], str], x_name: str
) -> Plane:
    """Return a plane that holds all values.

    Args:
        size: of the drawing.
        xs: the x of each point.
        ys: the y of each point, and of whatever else the plane must reach.
        write: writes a y for the axis.
        x_name: what x counts.
    """
    # A single epoch stands in the middle.
    pad = 0.0 if max(xs) > min(xs) else 0.5
    across = [t for t in even_ticks(min(xs), max(xs), size.x_steps, whole=True) if min(xs) <= t <= max(xs)]
    marks = [(value, f"{value:,.0f}") for value in across or [min(xs)]]
    return lay_plane_of(size, (min(xs) - pad, max(xs) + pad), marks, ys, write, x_name)


def lay_plane_of(
    size: Size,
    reach: tuple[float, float],
    marks: Sequence[tuple[float, str]],
    ys: Sequence[float],
    write: Callable[[float], str],
    x_name: str,
) -> Plane:
    """Return a plane with an x axis of the caller's own.

    Args:
        size: of the drawing.
        reach: the smallest and the largest x.
        marks: the values that the x axis names, and how.
        ys: the y of each point, and of whatever else the plane must reach.
        write: writes a y for the axis.
        x_name: what x is.
    """
    up = even_ticks(min(ys), max(ys), size.y_steps)
    x = Scale(*reach, _LEFT, size.width - _RIGHT)
    y = Scale(up[0], up[-1], size.height - _BOTTOM, _TOP)
    plane = Plane(size, x, y, Markup(""))
    parts = [element("path", d=plane.across(y(v)), class_="grid") for v in up[1:]]
    parts += [text(_LEFT - 6, y(v) + 4, write(v), anchor="end") for v in up]
    parts += [text(x(v), plane.floor + 16, words, anchor="middle") for v, words in marks]
    parts.append(element("path", d=plane.across(plane.floor), class_="axis"))
    parts.append(text((x.start + x.end) / 2, size.height - 6, x_name, anchor="middle"))
    return Plane(size, x, y, join(parts))
