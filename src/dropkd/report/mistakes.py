"""Where the student fails: the confusion matrix, and its worst pairs in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dropkd.report.confusion import confusion_counts, worst_pairs
from dropkd.report.predictions import Predictions
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import percent
from dropkd.statistics.arrays import IntArray

__all__ = ["Confusion", "ConfusionCell", "PairRow", "build_confusion", "describe_pairs"]

# A matrix with more classes can't be read, and costs K * K cells.
_MOST_MATRIX_CLASSES = 24
_MOST_PAIRS = 8
# Shades of a cell; the share of the row is shown by its square root, since mistakes are small beside the diagonal.
_SHADES = 9


@dataclass(frozen=True)
class ConfusionCell:
    """One cell: how many images, its shade 0-9, a text for the pointer, and whether it is on the diagonal."""

    count: int
    shade: int
    hint: str
    is_right: bool


@dataclass(frozen=True)
class Confusion:
    """The matrix, all classes or those with the most mistakes.

    Args:
        names: the classes shown, by row and column; a further column "other" closes a matrix of some classes.
        rows: cells by true class.
        totals: images of each true class.
        shown: how many classes are shown.
        total: how many there are.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[ConfusionCell, ...], ...]
    totals: tuple[int, ...]
    shown: int
    total: int


@dataclass(frozen=True)
class PairRow:
    """A frequent mistake in words."""

    true: str
    taken_for: str
    count: int
    of: int
    share: str
    teacher: int | None


def build_confusion(run: RunRecord, answers: Predictions) -> Confusion | None:
    """Return the matrix of all classes, or of those with the most mistakes where there are too many to read."""
    total = answers.num_classes
    if not len(answers.target):
        return None
    chosen = np.arange(total) if total <= _MOST_MATRIX_CLASSES else _most_mistaken(answers)
    place = np.full(total, len(chosen))
    place[chosen] = np.arange(len(chosen))
    counts = confusion_counts(place[answers.target], place[answers.student.prediction], len(chosen) + 1)
    columns = len(chosen) + (total > len(chosen))
    names = tuple(run.class_name(int(k)) for k in chosen)
    headings = (*names, "other")
    rows = tuple(tuple(_cell(counts, i, j, headings) for j in range(columns)) for i in range(len(chosen)))
    totals = tuple(int(counts[i].sum()) for i in range(len(chosen)))
    return Confusion(headings[:columns], rows, totals, len(chosen), total)


def describe_pairs(run: RunRecord, answers: Predictions) -> list[PairRow]:
    """Return the student's commonest mistakes, with how often the teacher makes them."""
    rows = []
    for true, taken, count in worst_pairs(answers.target, answers.student.prediction, _MOST_PAIRS):
        of_class = answers.target == true
        images = int(np.count_nonzero(of_class))
        teacher = answers.teacher
        same = None if teacher is None else int(np.count_nonzero(of_class & (teacher.prediction == taken)))
        names = run.class_name(true), run.class_name(taken)
        rows.append(PairRow(*names, count, images, percent(count / images), same))
    return rows


def _most_mistaken(answers: Predictions) -> IntArray:
    wrong = ~answers.student_right
    size = answers.num_classes
    involved = np.bincount(answers.target[wrong], minlength=size) + np.bincount(
        answers.student.prediction[wrong], minlength=size
    )
    return np.sort(np.argsort(-involved, kind="stable")[: _MOST_MATRIX_CLASSES // 2]).astype(np.int64)


def _cell(counts: IntArray, i: int, j: int, names: tuple[str, ...]) -> ConfusionCell:
    count, total = int(counts[i, j]), int(counts[i].sum())
    share = count / total if total else 0.0
    shade = math.ceil(_SHADES * math.sqrt(share)) if count else 0
    what = "right" if i == j else f"taken for {names[j]}"
    return ConfusionCell(count, shade, f"{names[i]}, {what}: {count} of {total} ({percent(share)})", i == j)
