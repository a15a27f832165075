"""How far a network's confidence can be believed: in words, as a diagram and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropkd.report.charts import Chart
from dropkd.report.reliability import Bin, Reliability, draw_reliability, read_reliability
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import count, interval_of_percents, percent
from dropkd.statistics.intervals import wilson_interval

__all__ = ["BinRow", "Calibration", "describe_calibration"]

_SUBJECTS = {"student": "The student", "teacher": "The teacher", "alone": "The same student, trained alone,"}
_COLUMNS = {"student": "Student", "teacher": "Teacher"}


@dataclass(frozen=True)
class BinRow:
    """A line of the table: a range of confidence, and for each column a text and a smaller one."""

    confidence: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Calibration:
    """What the section says.

    Args:
        words: a sentence for each network.
        chart: the diagram.
        columns: the headings of the table after the first.
        rows: the table.
    """

    words: tuple[str, ...]
    chart: Chart
    columns: tuple[str, ...]
    rows: tuple[BinRow, ...]


def describe_calibration(run: RunRecord, split: str) -> Calibration | None:
    """Return the section for a split, or None where the run says nothing of it."""
    scores = {
        "student": _descend(run.metrics, "splits", split),
        "teacher": _descend(run.metrics, "teacher", "splits", split),
        "alone": _descend(run.baseline.metrics, "splits", split) if run.baseline else {},
    }
    found = {who: told for who, each in scores.items() if (told := read_reliability(each.get("reliability")))}
    if "student" not in found:
        return None
    words = tuple(_say(who, told, scores[who], run.is_multi_label) for who, told in found.items())
    drawn = {who: told for who, told in found.items() if who in _COLUMNS}
    errors = {who: f"ECE {percent(scores[who].get('ece'))}" for who in drawn}
    what = ("questions", "labels there") if run.is_multi_label else ("answers", "right")
    columns = tuple(f"{_COLUMNS[who]}, {name}" for who in drawn for name in what)
    rows = _tabulate(drawn, with_intervals=not run.is_multi_label)
    return Calibration(words, draw_reliability(drawn, errors, run.is_multi_label), columns, tuple(rows))


def _descend(tree: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def _say(who: str, told: Reliability, scores: Mapping[str, Any], is_multi_label: bool) -> str:
    sure, right = percent(told.confidence), percent(told.accuracy)
    if is_multi_label:
        said = f"gives a label a probability of {sure} on average, and {right} of the labels are there"
    else:
        said = f"is {sure} sure of its answers on average, and {right} of them are right: {_judge(told)}"
    error, interval = scores.get("ece"), (scores.get("intervals") or {}).get("ece")
    if not isinstance(error, int | float):
        return f"{_SUBJECTS[who]} {said}."
    reach = f", 95\u00a0% interval {interval_of_percents((interval[0], interval[1]))}" if interval else ""
    return f"{_SUBJECTS[who]} {said}. Bin by bin the two lie {percent(error)} apart (ECE{reach})."


def _judge(told: Reliability) -> str:
    """Say whether a network claims too much."""
    low, high = wilson_interval(round(told.accuracy * told.answers), told.answers)
    if low <= told.confidence <= high:
        return "a difference that chance can explain"
    gap = 100 * (told.confidence - told.accuracy)
    return f"it claims {abs(gap):.1f}\u00a0points {'too much' if gap > 0 else 'too little'}"


def _tabulate(found: Mapping[str, Reliability], *, with_intervals: bool) -> list[BinRow]:
    by_number = {who: {b.number: b for b in told.bins} for who, told in found.items()}
    numbers = sorted({number for bins in by_number.values() for number in bins})
    names = {b.number: b.reach for told in found.values() for b in told.bins}
    return [
        BinRow(names[n], tuple(cell for bins in by_number.values() for cell in _write(bins.get(n), with_intervals)))
        for n in numbers
    ]


def _write(found: Bin | None, with_interval: bool) -> tuple[tuple[str, str], tuple[str, str]]:
    if found is None:
        return ("0", ""), (percent(None), "")
    return (count(found.answers), ""), (
        percent(found.accuracy), interval_of_percents(found.interval) if with_interval else ""
    )  # fmt: skip
