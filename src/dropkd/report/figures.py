"""The table of a run's figures: each with its split, its epoch and its network, and the dots above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dropkd.report.charts import Chart
from dropkd.report.dots import Dot, draw_dots
from dropkd.report.pairing import accuracy_interval
from dropkd.report.run_files import descend
from dropkd.report.run_record import RunRecord, read_interval
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import decimal, interval_of_percents, percent, whole_percent
from dropkd.statistics.arrays import Interval
from dropkd.statistics.intervals import interval_of_share, wilson_interval

__all__ = ["FigureRow", "FigureTable", "accuracy_dots", "tabulate_figures"]

_METRICS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("accuracy", "Accuracy", percent),
    ("top5_accuracy", "Top-5 accuracy", percent),
    ("uar", "Mean recall of the classes (UAR)", percent),
    ("map", "Mean average precision (mAP)", percent),
    ("micro_f1", "F1 of all labels together (micro)", percent),
    ("macro_f1", "Mean F1 of the classes (macro)", percent),
    ("exact_match", "All labels of an image right", percent),
    ("auroc", "Area under the ROC curve (AUROC)", percent),
    ("ece", "Expected calibration error (ECE)", percent),
    ("loss", "Cross-entropy (NLL)", decimal),
    ("agreement", "Agreement with the teacher", percent),
)


@dataclass(frozen=True)
class FigureRow:
    """One metric on one split: a text and a smaller text (the interval) for each column."""

    split: str
    images: int | None
    metric: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FigureTable:
    """Columns are networks at an epoch, rows are metrics by split."""

    columns: tuple[str, ...]
    rows: tuple[FigureRow, ...]


def tabulate_figures(run: RunRecord) -> FigureTable | None:
    """Return the figures of the student (selected and last epoch), its teacher and the plain run."""
    columns = _find_columns(run)
    rows = []
    for split in ("test", "val"):
        images = run.figure("splits", split, "images")
        for key, name, write in _METRICS:
            values = [_number(figures, split, key) for figures in columns.values()]
            if any(v is not None for v in values):
                cells = tuple(
                    (write(value), _write_interval(figures, split, key, value, images, write))
                    for value, figures in zip(values, columns.values(), strict=True)
                )
                rows.append(FigureRow(SPLIT_NAMES[split], int(images) if images else None, name, cells))
    return FigureTable(tuple(columns), tuple(rows)) if rows else None


def accuracy_dots(run: RunRecord) -> Chart | None:
    """Draw the accuracies of teacher, student and plain student on the headline split, with their intervals."""
    split = run.split
    if split is None:
        return None
    images = int(run.figure("splits", split, "images") or 0)
    dots = []
    teacher = run.teacher_score(split)
    if teacher is not None:
        interval = _teacher_interval(run, split, teacher, images)
        dots.append(Dot("teacher", "teacher", teacher, interval, percent(teacher)))
    name = "student" if run.method == "plain" else f"student, {run.method}"
    for record, title, look in ((run, name, "student"), (run.baseline, "same student, trained alone", "alone")):
        accuracy = record.score(split) if record else None
        if record and accuracy is not None:
            dots.append(Dot(title, look, accuracy, accuracy_interval(record, split), percent(accuracy)))
    title = f"{'mAP' if run.is_multi_label else 'Accuracy'} on the {SPLIT_NAMES[split]} images"
    return draw_dots(title, dots, write=whole_percent, note="Whiskers: 95\u00a0% interval.")


def _teacher_interval(run: RunRecord, split: str, score: float, images: int) -> Interval | None:
    told = read_interval(run.metrics, "teacher", "splits", split, run.headline)
    if told is not None:
        return told
    if run.is_multi_label:
        answers = run.label_sets.get(split)
        return (
            None
            if answers is None or answers.teacher_draws is None
            else interval_of_share(score, answers.teacher_draws)
        )
    return wilson_interval(round(score * images), images) if images else None


def _find_columns(run: RunRecord) -> dict[str, Any]:
    """Return each column's figures by split, under its heading; those without any figure are left out."""
    selected, last = run.figure("selected", "epoch"), run.figure("last_epoch", "epoch")
    kept = "Student" if selected is None else f"Student, epoch {int(selected) + 1} (selected)"
    columns: dict[str, Any] = {}
    if selected is not None and selected == last:
        columns[kept.replace("(selected)", "(selected, and the last)")] = run.metrics.get("splits")
    else:
        columns[kept] = run.metrics.get("splits")
        columns["Last epoch" if last is None else f"Student, epoch {int(last) + 1} (last)"] = run.metrics.get(
            "last_epoch"
        )
    columns["Teacher"] = descend(run.metrics, ("teacher", "splits"))
    if run.baseline is not None:
        columns["Same student, alone"] = run.baseline.metrics.get("splits")
    return {name: figures for name, figures in columns.items() if isinstance(figures, Mapping) and figures}


def _number(figures: Mapping[str, Any], split: str, key: str) -> float | None:
    found = figures.get(split)
    value = found.get(key) if isinstance(found, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _write_interval(
    figures: Mapping[str, Any],
    split: str,
    key: str,
    value: float | None,
    images: float | None,
    write: Callable[[float | None], str],
) -> str:
    """Write the interval of a figure: what the run wrote beside it; of an accuracy that has none, Wilson's."""
    interval = read_interval(figures, split, key)
    if interval is None and key == "accuracy" and value is not None and images:
        interval = wilson_interval(round(value * images), int(images))
    if interval is None or value is None:
        return ""
    return interval_of_percents(interval) if write is percent else f"{write(interval[0])} to {write(interval[1])}"
