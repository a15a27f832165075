"""The table of a run's classes: how well each is found, by whom, and what it is taken for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dropkd.report.pairing import shared_rows
from dropkd.report.predictions import Predictions
from dropkd.report.rendering import show_unprintable
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import count, interval_of_percents, join_words, percent
from dropkd.statistics.arrays import BoolArray, IntArray, Interval
from dropkd.statistics.intervals import wilson_interval

__all__ = ["ClassRow", "ClassTable", "tabulate_classes"]

# Rows that stand in the page as they are; of the others only the texts do, and the page's script makes rows of them.
_MOST_WRITTEN = 150
_MOST_NAMED = 5


@dataclass(frozen=True)
class ClassRow:
    """A class as the table has it.

    Args:
        cells: the texts, one for each column.
        recall: the share of its images that the student has right.
        interval: the 95 % interval of that share.
    """

    cells: tuple[str, ...]
    recall: float
    interval: Interval

    def compress(self) -> dict[str, list[str] | list[float]]:
        """Return what the page's script makes a row of: the texts, and low, value and high of the bar in percent."""
        low, high = self.interval
        bar = [round(100 * value, 1) for value in (low, self.recall, high)]
        return {"cells": [show_unprintable(cell) for cell in self.cells], "bar": bar}


@dataclass(frozen=True)
class ClassTable:
    """All classes with images, the least well found first.

    Args:
        columns: the headings; the first is the name, the third the recall, which is drawn as a bar too.
        rows: those that are written out.
        rest: the others, see :meth:`ClassRow.compress`.
        note: which classes have no images, in words; empty where all have some.
    """

    columns: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    rest: tuple[dict[str, list[str] | list[float]], ...]
    note: str

    @property
    def total(self) -> int:
        """Return how many classes have images."""
        return len(self.rows) + len(self.rest)


@dataclass(frozen=True)
class _Counts:
    """Images, answers and right answers of each class."""

    images: IntArray
    answered: IntArray
    right: IntArray

    def precision(self, k: int) -> float | None:
        """Return the share of a class's answers that are right; None where it is never the answer."""
        return float(self.right[k] / self.answered[k]) if self.answered[k] else None

    def f1(self, k: int) -> float:
        """Return the harmonic mean of precision and recall."""
        return float(2 * self.right[k] / (self.images[k] + self.answered[k]))


def tabulate_classes(run: RunRecord, split: str) -> ClassTable:
    """Return the classes of a split that a run has answered."""
    answers = run.predictions[split]
    counts = _count(answers)
    teacher = _rate(answers.target, answers.teacher_right, answers.num_classes)
    plain = _find_plain_rates(run, split)
    mostly = _find_commonest_mistakes(answers)
    order = np.argsort(counts.right / np.maximum(counts.images, 1), kind="stable")
    known = [int(k) for k in order if counts.images[k]]
    rows = [_describe(run, k, counts, teacher, plain, mostly) for k in known]
    rest = tuple(row.compress() for row in rows[_MOST_WRITTEN:])
    headings = ["Class", "Images", "Recall", "95\u00a0% interval", "Precision", "F1"]
    headings += (["Teacher\u2019s recall"] if teacher is not None else []) + (["Alone"] if plain is not None else [])
    note = _describe_absent(run, counts.images)
    return ClassTable((*headings, "Mostly taken for"), tuple(rows[:_MOST_WRITTEN]), rest, note)


def _describe(
    run: RunRecord,
    k: int,
    counts: _Counts,
    teacher: dict[int, float] | None,
    plain: dict[int, float] | None,
    mostly: dict[int, tuple[int, int]],
) -> ClassRow:
    images, right = int(counts.images[k]), int(counts.right[k])
    interval = wilson_interval(right, images)
    recall = right / images
    cells = [run.class_name(k), count(images), percent(recall), interval_of_percents(interval)]
    cells += [percent(counts.precision(k)), percent(counts.f1(k))]
    cells += [percent(rates.get(k)) for rates in (teacher, plain) if rates is not None]
    taken, times = mostly.get(k, (0, 0))
    return ClassRow((*cells, f"{run.class_name(taken)} ({count(times)})" if times else ""), recall, interval)


def _count(answers: Predictions) -> _Counts:
    size = answers.num_classes
    images, right = (np.bincount(of, minlength=size) for of in (answers.target, answers.target[answers.student_right]))
    return _Counts(images, np.bincount(answers.student.prediction, minlength=size), right)


def _rate(target: IntArray, right: BoolArray | None, size: int) -> dict[int, float] | None:
    """Return the recall of each class that has images; None for a network that was not asked."""
    if right is None:
        return None
    images, hits = np.bincount(target, minlength=size), np.bincount(target[right], minlength=size)
    return {int(k): float(hits[k] / images[k]) for k in np.flatnonzero(images)}


def _find_plain_rates(run: RunRecord, split: str) -> dict[int, float] | None:
    plain = run.baseline
    other = plain.predictions.get(split) if plain else None
    if other is None or not len(shared_rows(run.predictions[split], other)[0]):
        return None
    return _rate(other.target, other.student_right, other.num_classes)


def _find_commonest_mistakes(answers: Predictions) -> dict[int, tuple[int, int]]:
    """Return for each class with mistakes what it is most often taken for, and how often."""
    wrong = ~answers.student_right
    pairs = np.stack([answers.target[wrong], answers.student.prediction[wrong]], axis=1)
    found, times = np.unique(pairs, axis=0, return_counts=True)
    # The last one written for a class is its commonest, and of equal ones the first class.
    order = np.lexsort((-found[:, 1], times))
    return {int(found[i, 0]): (int(found[i, 1]), int(times[i])) for i in order}


def _describe_absent(run: RunRecord, images: IntArray) -> str:
    absent = [run.class_name(int(k)) for k in np.flatnonzero(images == 0)]
    if not absent:
        return ""
    named = absent[:_MOST_NAMED] + ([f"{count(len(absent) - _MOST_NAMED)} more"] if len(absent) > _MOST_NAMED else [])
    return f"Without images, so nothing is known of them: {join_words(named)}."
