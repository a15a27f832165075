"""DropKD runs that differ in their rates alone, as a heat map beside the paper's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dropkd.report.comparison_charts import group_interval
from dropkd.report.groups import INCIDENTAL, Group
from dropkd.report.settings import setting_values
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import interval_of_percents, percent, plural

__all__ = ["GridCell", "GridMap", "GridPair", "draw_grids", "read_paper_grids"]

_SHADES = 9
_KINDS = {"feature": "features", "logit": "logits"}


@dataclass(frozen=True)
class GridCell:
    """An accuracy at two rates.

    Args:
        text: the accuracy, or a dash.
        small: its interval, or what it is the mean of.
        shade: 0-9 within the map, from its lowest to its highest accuracy.
        is_best: the highest of the map.
        hint: all of it in words.
    """

    text: str
    small: str
    shade: int
    is_best: bool
    hint: str


@dataclass(frozen=True)
class GridMap:
    """Accuracies by the student's rate (columns) and the teacher's (rows, the highest first).

    Args:
        title: of what.
        columns: the student's rates.
        rows: the teacher's rates, each with its cells.
        range: from which accuracy to which the shades go.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[GridCell, ...]], ...]
    range: str


@dataclass(frozen=True)
class GridPair:
    """A map of the runs beside the paper's.

    Args:
        kind: ``features`` or ``logits``: whose rates.
        common: what the runs of the map have in common where there are several maps, else empty.
        own: the map of the runs.
        paper: that of the paper.
        missing: cells that no run fills, in words; empty where there are none.
        source: of the paper's figures.
    """

    kind: str
    common: str
    own: GridMap
    paper: GridMap
    missing: str
    source: str


def draw_grids(groups: Sequence[Group], split: str) -> tuple[GridPair, ...]:
    """Return a pair of maps for each set of DropKD groups that differ in two rates alone.

    Two different rates on either side at least make a map; a row or a column alone is told by the table of runs.
    """
    pairs = []
    for kind in _KINDS:
        sets: dict[tuple[tuple[str, str], ...], list[Group]] = {}
        for group in groups:
            if group.runs[0].method == "dropkd" and group.spread(split) is not None and _read_rates(group, kind):
                sets.setdefault(_list_others(group, kind), []).append(group)
        mapped = {others: members for others, members in sets.items() if _is_grid(members, kind)}
        pairs += [
            _draw_pair(members, kind, split, _tell_apart(others, list(mapped))) for others, members in mapped.items()
        ]
    return tuple(pairs)


@cache
def read_paper_grids() -> Mapping[str, Any]:
    """Return the paper's accuracies by rates, with their source."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("paper_grids.json").read_text(encoding="utf-8"))
    return found


def _read_rates(group: Group, kind: str) -> tuple[float, float] | None:
    """Return the teacher's and the student's rate, or None where the configuration does not say them."""
    rates = [group.runs[0].setting("method", f"{kind}_rate_{side}") for side in ("teacher", "student")]
    if not all(isinstance(rate, int | float) and not isinstance(rate, bool) for rate in rates):
        return None
    return float(rates[0]), float(rates[1])


def _list_others(group: Group, kind: str) -> tuple[tuple[str, str], ...]:
    """Return all settings that runs of one map share: everything but the two rates and what seeds may differ in."""
    rates = {f"method.{kind}_rate_teacher", f"method.{kind}_rate_student"}
    values = setting_values(group.runs[0].config)
    return tuple((key, value) for key, value in sorted(values.items()) if key not in rates | INCIDENTAL)


def _is_grid(members: Sequence[Group], kind: str) -> bool:
    rates = [found for group in members if (found := _read_rates(group, kind))]
    return min(len({teacher for teacher, _ in rates}), len({student for _, student in rates})) > 1


def _tell_apart(others: tuple[tuple[str, str], ...], every: Sequence[tuple[tuple[str, str], ...]]) -> str:
    """Return what sets one map apart from the others of its kind."""
    shared = set(others).intersection(*map(set, every))
    return ", ".join(f"{key.removeprefix('method.')} {value}" for key, value in others if (key, value) not in shared)


def _draw_pair(members: Sequence[Group], kind: str, split: str, common: str) -> GridPair:
    paper = read_paper_grids()
    printed = paper[kind]
    rates = {found: group for group in members if (found := _read_rates(group, kind))}
    teachers = sorted({teacher for teacher, _ in rates}, reverse=True)
    students = sorted({student for _, student in rates})
    own = {}
    for (teacher, student), group in rates.items():
        spread = group.spread(split)
        if spread is not None:
            interval = group_interval(group, spread, split)
            small = interval_of_percents(interval).removesuffix("\u00a0%") if interval else ""
            own[teacher, student] = (spread.mean, small, plural(spread.count, "seed"))
    absent = [(t, s) for t in teachers for s in students if (t, s) not in own]
    name = "mAP" if members[0].runs[0].is_multi_label else "Accuracy"
    return GridPair(
        kind=_KINDS[kind],
        common=common,
        own=_draw_map(f"These runs: {name} on the {SPLIT_NAMES[split]} images", teachers, students, own),
        paper=_draw_map(
            f"The paper\u2019s {printed['name']}: accuracy on the test images of {paper['data']}",
            printed["teacher_rates"],
            printed["student_rates"],
            {
                (teacher, student): (value / 100, "", "")
                for teacher, row in zip(printed["teacher_rates"], printed["accuracies"], strict=True)
                for student, value in zip(printed["student_rates"], row, strict=True)
                if value is not None
            },
            digits=2,
        ),
        missing=f"{plural(len(absent), 'cell')} of {len(teachers) * len(students)} not run, marked by a dash."
        if absent
        else "",
        source=str(paper["source"]),
    )


def _draw_map(
    title: str,
    teachers: Sequence[float],
    students: Sequence[float],
    values: Mapping[tuple[float, float], tuple[float, str, str]],
    digits: int = 1,
) -> GridMap:
    every = [value for value, _, _ in values.values()]
    low, high = min(every), max(every)

    def draw(teacher: float, student: float) -> GridCell:
        where = f"teacher {teacher:g}, student {student:g}"
        if (teacher, student) not in values:
            return GridCell("\u2013", "", 0, False, f"{where}: none")
        value, small, count = values[teacher, student]
        shade = round(_SHADES * (value - low) / (high - low)) if high > low else 0
        words = ", ".join(part for part in (percent(value, digits), small, count) if part)
        return GridCell(f"{100 * value:.{digits}f}", small, shade, value == high, f"{where}: {words}")

    rows = tuple((f"{teacher:g}", tuple(draw(teacher, student) for student in students)) for teacher in teachers)
    shades = f"{percent(low, digits)} (faint) to {percent(high, digits)} (strong)"
    return GridMap(title, tuple(f"{student:g}" for student in students), rows, shades)
