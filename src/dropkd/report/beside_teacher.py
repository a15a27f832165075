"""What of the teacher is in the student: where the two agree, and what the same student would have without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dropkd.report.pairing import shared_rows
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import count, decimal, interval_of_percents, interval_of_points, percent, plural
from dropkd.statistics.arrays import BoolArray
from dropkd.statistics.pairs import compare_paired

__all__ = ["Beside", "BesideRow", "describe_beside"]

_FIGURES = {
    "agreement": "Same answer as the teacher",
    "accuracy_teacher_right": "Right where the teacher is right",
    "accuracy_teacher_wrong": "Right where the teacher is wrong",
    "shared_errors": "Errors that are the teacher\u2019s too, with the same answer",
    "kl_to_teacher": "KL(teacher || student), nats an image",
}
_LABEL_FIGURES = {
    "agreement": "Same labels as the teacher",
    "kl_to_teacher": "KL(teacher || student), nats a label",
}


@dataclass(frozen=True)
class BesideRow:
    """A figure of the student with its interval, and the same of the student that was trained alone."""

    name: str
    student: str
    interval: str
    alone: str


@dataclass(frozen=True)
class Beside:
    """What the section says.

    Args:
        words: sentences.
        counts: images that both have right, the student alone, the teacher alone, neither; None where it is not known.
        shares: the same as shares of all images, in words.
        rows: the figures.
        with_alone: whether there is a plain run to compare with.
    """

    words: tuple[str, ...]
    counts: tuple[str, ...] | None
    shares: tuple[str, ...] | None
    rows: tuple[BesideRow, ...]
    with_alone: bool


def describe_beside(run: RunRecord, split: str) -> Beside | None:
    """Return the section for a split, or None for a run whose teacher has not answered its images."""
    names = _LABEL_FIGURES if run.is_multi_label else _FIGURES
    alone = {} if run.is_multi_label else _judge_alone(run, split)
    figures = {key: value for key in names if (value := run.figure("splits", split, key)) is not None}
    if not figures:
        return None
    rows = [
        BesideRow(names[key], _write(key, value), _write_interval(run, split, key), _write(key, alone.get(key)))
        for key, value in figures.items()
    ]
    counts = _count(run, split)
    images = sum(counts) if counts else 0
    told = tuple(map(count, counts)) if counts else None
    shares = tuple(percent(n / images) for n in counts) if counts and images else None
    words = [] if run.is_multi_label else _say_what_was_passed_on(run, split)
    return Beside(tuple(words), told, shares, tuple(rows), bool(alone))


def _count(run: RunRecord, split: str) -> tuple[int, ...] | None:
    keys = ("both_right", "student_alone_right", "teacher_alone_right", "both_wrong")
    found = [run.figure("splits", split, "beside_teacher", key) for key in keys]
    if all(value is not None for value in found):
        return tuple(int(value or 0) for value in found)
    sides = _find_right(run, split)
    if sides is None:
        return None
    student, teacher = sides
    parts = (student & teacher, student & ~teacher, ~student & teacher, ~student & ~teacher)
    return tuple(int(np.count_nonzero(part)) for part in parts)


def _find_right(run: RunRecord, split: str) -> tuple[BoolArray, BoolArray] | None:
    """Return (N,) where student and teacher are right."""
    if run.is_multi_label:
        sets = run.label_sets.get(split)
        if sets is None or sets.teacher is None:
            return None
        return sets.are_right(sets.student), sets.are_right(sets.teacher)
    answers = run.predictions.get(split)
    teacher = None if answers is None else answers.teacher_right
    return None if answers is None or teacher is None else (answers.student_right, teacher)


@dataclass(frozen=True)
class _Three:
    """The answers of student, teacher and plain student to the images that all three know, and the true classes."""

    target: np.ndarray
    student: np.ndarray
    teacher: np.ndarray
    alone: np.ndarray


def _meet(run: RunRecord, split: str) -> _Three | None:
    mine, plain = run.predictions.get(split), run.baseline
    other = plain.predictions.get(split) if plain else None
    if mine is None or mine.teacher is None or other is None:
        return None
    rows, other_rows = shared_rows(mine, other)
    if not len(rows):
        return None
    return _Three(
        mine.target[rows], mine.student.prediction[rows], mine.teacher.prediction[rows],
        other.student.prediction[other_rows],
    )  # fmt: skip


def _judge_alone(run: RunRecord, split: str) -> dict[str, float]:
    """Return the figures of the student that was trained alone, beside the same teacher."""
    found = _meet(run, split)
    if found is None:
        return {}
    right, knows = found.alone == found.target, found.teacher == found.target
    agrees = found.alone == found.teacher
    parts = {
        "agreement": (agrees, np.ones_like(right)),
        "accuracy_teacher_right": (right, knows),
        "accuracy_teacher_wrong": (right, ~knows),
        "shared_errors": (agrees, ~right),
    }
    return {key: float(values[among].mean()) for key, (values, among) in parts.items() if among.any()}


def _say_what_was_passed_on(run: RunRecord, split: str) -> list[str]:
    """Say what the student has of the teacher that it would not have alone."""
    found = _meet(run, split)
    if found is None:
        return []
    right, knows, alone = (answer == found.target for answer in (found.student, found.teacher, found.alone))
    told = compare_paired(found.student == found.teacher, found.alone == found.teacher)
    gap, verb = f"{abs(100 * told.difference):.1f}\u00a0points", "more" if told.difference > 0 else "less"
    unclear = "" if told.interval[0] > 0 or told.interval[1] < 0 else ", which chance could explain"
    said = [
        f"The student gives the teacher\u2019s answer {gap} {verb} often than the same student trained alone "
        f"(95\u00a0% interval {interval_of_points(told.interval)}{unclear})."
    ]
    wanting, lost = knows & ~alone, knows & alone & ~right
    if wanting.any():
        missed, gained = int(wanting.sum()), int((wanting & right).sum())
        said.append(
            f"Of the {plural(missed, 'image')} that the teacher has right and the student alone wrong, it has "
            f"{count(gained)} right now ({percent(gained / missed)}); of those that both had right it lost "
            f"{count(int(lost.sum()))}."
        )
    return said


def _write(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return decimal(value) if key == "kl_to_teacher" else percent(value)


def _write_interval(run: RunRecord, split: str, key: str) -> str:
    interval = run.interval(split, key)
    if interval is None:
        return ""
    low, high = interval
    return f"{decimal(low)} to {decimal(high)}" if key == "kl_to_teacher" else interval_of_percents(interval)
