"""The reliability diagram: how often answers of about the same confidence are right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dropkd.report.charts import Chart, Key
from dropkd.report.svg import Scale, element, frame, number, text
from dropkd.report.wording import count, percent, whole_percent
from dropkd.statistics.arrays import Interval
from dropkd.statistics.intervals import wilson_interval

__all__ = ["Bin", "Reliability", "draw_reliability", "read_reliability"]

# Of fewer answers a share says little: their dot is hollow and no line leads through it.
_FEW = 10
# The square of the diagram, and below it the strip that shows where the answers lie.
_LEFT, _RIGHT, _WIDTH = 48.0, 368.0, 380.0
_TOP, _FLOOR, _STRIP, _STRIP_FLOOR, _HEIGHT = 8.0, 328.0, 346.0, 396.0, 434.0
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_FLOORS = (_FLOOR, _STRIP_FLOOR)
_X, _Y = Scale(0, 1, _LEFT, _RIGHT), Scale(0, 1, _FLOOR, _TOP)


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence.

    Args:
        number: of the bin, from 0.
        width: of a bin; all have the same.
        answers: how many.
        confidence: their mean confidence.
        accuracy: the share of them that is right.
    """

    number: int
    width: float
    answers: int
    confidence: float
    accuracy: float

    @property
    def reach(self) -> str:
        """Return the range of confidence in words."""
        return f"{100 * self.number * self.width:.0f} to {percent((self.number + 1) * self.width, 0)}"

    @property
    def interval(self) -> Interval:
        """Return the 95 % interval of the share."""
        return wilson_interval(round(self.accuracy * self.answers), self.answers)


@dataclass(frozen=True)
class Reliability:
    """A network's bins that have answers."""

    bins: tuple[Bin, ...]

    @property
    def answers(self) -> int:
        """Return how many answers there are."""
        return sum(b.answers for b in self.bins)

    @property
    def confidence(self) -> float:
        """Return the mean confidence of all answers."""
        return math.fsum(b.answers * b.confidence for b in self.bins) / self.answers

    @property
    def accuracy(self) -> float:
        """Return the share of all answers that is right."""
        return math.fsum(b.answers * b.accuracy for b in self.bins) / self.answers


def read_reliability(found: Any) -> Reliability | None:
    """Read what ``metrics.json`` has under ``reliability``; None where it is missing, empty or no such table."""
    try:
        table = list(zip(found["images"], found["confidence"], found["accuracy"], strict=True))
        bins = [Bin(k, 1 / len(table), int(n), float(c), float(a)) for k, (n, c, a) in enumerate(table) if n]
    except (TypeError, KeyError, ValueError):
        return None
    return Reliability(tuple(bins)) if bins else None


def draw_reliability(found: Mapping[str, Reliability], key: Mapping[str, str], is_multi_label: bool) -> Chart:
    """Draw the diagram.

    Args:
        found: by the network's class in the style sheet, with ``student`` first.
        key: what the key says of each.
        is_multi_label: whether answers are (image, label) questions: probabilities of the label, and whether it is
            there. Questions about one image depend on each other, so whiskers would be too short and are left out.
    """
    student = found["student"]
    parts = _draw_plane("probability of the label" if is_multi_label else "confidence of the answer")
    for look, told in reversed(list(found.items())):
        parts += _draw_curve(told, look, with_whiskers=look == "student" and not is_multi_label)
    parts += [*_draw_strip(student), *map(_draw_hint, student.bins)]
    title = "Probability, and how often the label is there" if is_multi_label else "Confidence, and how much is right"
    note = "Below the dotted line a network claims too much, above it too little."
    note += "" if is_multi_label else " Whiskers: the student\u2019s 95\u00a0% intervals."
    note += " The bars show where the student\u2019s answers lie; a hollow dot stands for fewer than ten."
    words = "; ".join(f"{look}: {', '.join(map(_describe_point, told.bins))}" for look, told in found.items())
    keys = tuple(Key(look, look, key[look]) for look in found)
    return Chart(title, frame(_WIDTH, _HEIGHT, title, words, parts), keys, note)


def _draw_plane(x_name: str) -> list[Markup]:
    parts = [element("path", d=f"M{number(_LEFT)} {number(_Y(t))}H{number(_RIGHT)}", class_="grid") for t in _TICKS[1:]]
    parts += [text(_LEFT - 6, _Y(t) + 4, whole_percent(t), anchor="end") for t in _TICKS]
    parts.append(
        element("path", d=f"M{number(_LEFT)} {number(_FLOOR)}L{number(_RIGHT)} {number(_TOP)}", class_="diagonal")
    )
    parts += [element("path", d=f"M{number(_LEFT)} {number(y)}H{number(_RIGHT)}", class_="axis") for y in _FLOORS]
    parts += [text(_X(t), _STRIP_FLOOR + 16, whole_percent(t), anchor="middle") for t in _TICKS[:-1]]
    parts.append(text(_WIDTH, _STRIP_FLOOR + 16, whole_percent(1), anchor="end"))
    return [*parts, text((_LEFT + _RIGHT) / 2, _HEIGHT - 4, x_name, anchor="middle")]


def _draw_curve(told: Reliability, look: str, *, with_whiskers: bool) -> list[Markup]:
    parts = []
    if with_whiskers:
        reach = [(_X(b.confidence), *map(_Y, b.interval)) for b in told.bins]
        whiskers = "".join(f"M{number(px)} {number(low)}V{number(high)}" for px, low, high in reach)
        parts.append(element("path", d=whiskers, class_=f"whisker {look}"))
    dots = [(_X(b.confidence), _Y(b.accuracy), b.answers >= _FEW) for b in told.bins]
    joined = [(px, py) for px, py, is_solid in dots if is_solid]
    if len(joined) > 1:
        path = "".join(f"{'L' if k else 'M'}{number(px)} {number(py)}" for k, (px, py) in enumerate(joined))
        parts.append(element("path", d=path, class_=f"line {look}"))
    kinds = {True: "dot", False: "seed"}
    return parts + [element("circle", cx=px, cy=py, r=3.4, class_=f"{kinds[s]} {look}") for px, py, s in dots]


def _draw_strip(told: Reliability) -> list[Markup]:
    """Draw how many answers lie in each bin."""
    most = max(b.answers for b in told.bins)
    parts = [text(_LEFT - 6, _STRIP + 10, count(most), anchor="end")]
    for b in told.bins:
        height = (_STRIP_FLOOR - _STRIP) * b.answers / most
        left, right = _X(b.number * b.width) + 1, _X((b.number + 1) * b.width) - 1
        place = {"x": left, "y": _STRIP_FLOOR - height, "width": right - left, "height": height}
        parts.append(element("rect", **place, class_="fill student"))
    return parts


def _draw_hint(b: Bin) -> Markup:
    left, right = _X(b.number * b.width), _X((b.number + 1) * b.width)
    title = element("title", f"{b.reach}: {count(b.answers)} answers, {_describe_point(b)}")
    return element("rect", title, x=left, y=_TOP, width=right - left, height=_STRIP_FLOOR - _TOP, class_="hint")


def _describe_point(b: Bin) -> str:
    return f"{percent(b.confidence)} sure, {percent(b.accuracy)} right"
