"""Images with several labels: how well each label is found, and images with what was answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dropkd.report.cards import AnswerLine, Card, CardGroup
from dropkd.report.label_sets import LabelSets, loss_of_rows
from dropkd.report.rendering import show_unprintable
from dropkd.report.run_record import RunRecord
from dropkd.report.samples import embed_picture, pick_most
from dropkd.report.wording import count, percent
from dropkd.statistics.arrays import BoolArray, FloatArray

__all__ = ["LabelRow", "LabelTable", "build_label_cards", "tabulate_labels"]

# Rows that stand in the page as they are; of the others only the texts do, and the page's script makes rows of them.
_MOST_WRITTEN = 150
_NONE = "no label"


@dataclass(frozen=True)
class LabelRow:
    """A label as the table has it: the texts, one for each column, and its average precision."""

    cells: tuple[str, ...]
    precision: float

    def compress(self) -> dict[str, list[str] | list[float]]:
        """Return what the page's script makes a row of: the texts, and the bar in percent, whose ends are not drawn."""
        value = round(100 * self.precision, 1)
        return {"cells": [show_unprintable(cell) for cell in self.cells], "bar": [value, value, value]}


@dataclass(frozen=True)
class LabelTable:
    """All labels that an image has, the worst found first.

    Args:
        columns: the headings; the first is the name, the fourth the average precision, which is drawn as a bar too.
        rows: those that are written out.
        rest: the others, see :meth:`LabelRow.compress`.
    """

    columns: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    rest: tuple[dict[str, list[str] | list[float]], ...]

    @property
    def total(self) -> int:
        """Return how many labels there are."""
        return len(self.rows) + len(self.rest)


def tabulate_labels(run: RunRecord, split: str) -> LabelTable:
    """Return the labels of a split that a run has answered."""
    answers = run.label_sets[split]
    precision = _read(run.metrics, "splits", split)
    teacher = _read(run.metrics, "teacher", "splits", split)
    plain = _read(run.baseline.metrics, "splits", split) if run.baseline else []
    counts = answers.target.sum(axis=0)
    known = [k for k in range(len(counts)) if counts[k] and k < len(precision) and precision[k] is not None]
    rows = []
    for k in sorted(known, key=lambda k: (precision[k], k)):
        chance = percent(float(counts[k] / len(answers.target)))
        others = [_write(values, k) for values in (teacher, plain) if values]
        cells = (run.class_name(k), count(int(counts[k])), chance, percent(precision[k]), *others, *_count(answers, k))
        rows.append(LabelRow(cells, float(precision[k])))
    headings = ["Label", "Images with it", "At random", "Average precision"]
    headings += (["Teacher"] if teacher else []) + (["Alone"] if plain else []) + ["Recall at 0.5", "Precision at 0.5"]
    written, rest = rows[:_MOST_WRITTEN], rows[_MOST_WRITTEN:]
    return LabelTable(tuple(headings), tuple(written), tuple(row.compress() for row in rest))


def build_label_cards(run: RunRecord, answers: LabelSets, each: int = 6) -> list[CardGroup]:
    """Return sample images with all labels and those that each network names, kinds without an image left out."""
    loss, right = loss_of_rows(answers.student, answers.target), answers.are_right(answers.student)
    if answers.teacher is None:
        groups = [
            ("Worst errors", "not all labels right; those furthest from the labels first", ~right, loss, 2 * each),
            ("Right, but only just", "all labels right, with the least certainty", right, loss, each),
        ]
    else:
        taught, theirs = answers.are_right(answers.teacher), loss_of_rows(answers.teacher, answers.target)
        lost = "what was not passed on; where the two are furthest apart first"
        won = "where the student is better; where the two are furthest apart first"
        groups = [
            ("Worst errors", "both wrong; the student furthest from the labels first", ~right & ~taught, loss, each),
            ("Teacher right, student wrong", lost, taught & ~right, loss - theirs, each),
            ("Student right, teacher wrong", won, right & ~taught, theirs - loss, each),
        ]
    return [_build_group(run, answers, *group) for group in groups if group[2].any()]


def _build_group(
    run: RunRecord, answers: LabelSets, title: str, text: str, among: BoolArray, by: FloatArray, limit: int
) -> CardGroup:
    cards = tuple(_build_card(run, answers, row) for row in pick_most(among, by, limit))
    return CardGroup(title, text, int(np.count_nonzero(among)), cards)


def _build_card(run: RunRecord, answers: LabelSets, row: int) -> Card:
    truth, path = answers.target[row], answers.paths[row]
    networks = [("student", answers.student)] + ([("teacher", answers.teacher)] if answers.teacher is not None else [])
    lines = []
    for who, shares in networks:
        named = shares[row] >= 0.5
        answer = f"{_join(run, named)} ({_describe_furthest(run, shares[row], truth)})"
        lines.append(AnswerLine(who, who, answer, "", bool((named == truth).all())))
    return Card(embed_picture(run.pictures, path), _join(run, truth), path, tuple(lines))


def _describe_furthest(run: RunRecord, shares: FloatArray, truth: BoolArray) -> str:
    """Say of the label that is furthest from right how probable it is found."""
    k = int(np.abs(shares - truth).argmax())
    return f"{run.class_name(k)} {percent(float(shares[k]), 0)}"


def _join(run: RunRecord, marks: BoolArray) -> str:
    return ", ".join(run.class_name(int(k)) for k in np.flatnonzero(marks)) or _NONE


def _count(answers: LabelSets, k: int) -> tuple[str, str]:
    """Return how many of a label's images the student names it for, and how many that it names have it."""
    truth, named = answers.target[:, k], answers.student[:, k] >= 0.5
    hits = np.count_nonzero(truth & named)
    precision = percent(float(hits / np.count_nonzero(named))) if named.any() else percent(None)
    return percent(float(hits / np.count_nonzero(truth))), precision


def _read(tree: Mapping[str, Any], *keys: str) -> list[Any]:
    found: Any = tree
    for key in (*keys, "class_ap"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, list) else []


def _write(values: list[Any], k: int) -> str:
    value = values[k] if k < len(values) else None
    return percent(value) if isinstance(value, int | float) and math.isfinite(value) else ""
