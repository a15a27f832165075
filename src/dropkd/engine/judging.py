"""What a network's answers to a whole split are worth, in full, from the network or from a file of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dropkd.engine.evaluation import Answers
from dropkd.errors import RunError
from dropkd.statistics.arrays import BoolArray, IntArray
from dropkd.statistics.judging import Opinion, judge_classes, tabulate_classes, tabulate_reliability
from dropkd.statistics.label_judging import judge_labels, tabulate_label_reliability, tabulate_labels

__all__ = ["KeptAnswers", "judge_answers", "judge_kept", "opinion_of", "read_kept_answers"]


@dataclass(frozen=True)
class KeptAnswers:
    """The answers to one split, as a file of predictions keeps them.

    Args:
        paths: the images, relative to the data's root.
        target: (N,) the true classes, or (N, K) which labels each image has.
        student: the student's answers.
        teacher: the teacher's, or None without a teacher that shares the student's classes.
    """

    paths: tuple[str, ...]
    target: IntArray | BoolArray
    student: Opinion
    teacher: Opinion | None


def opinion_of(answers: Answers) -> Opinion:
    """Return answers as arrays."""
    return Opinion(answers.prediction.numpy(), answers.probabilities.numpy())


def judge_answers(student: Answers, teacher: Opinion | None = None) -> dict[str, Any]:
    """Return the figures of a network's answers with their intervals, a table of its classes, and its calibration.

    See :func:`dropkd.statistics.judging.judge_classes`, and
    :func:`dropkd.statistics.label_judging.judge_labels` where images have several labels.
    """
    target = (student.target > 0.5 if student.multi_label else student.target).numpy()
    knows_classes = teacher is not None and teacher.probabilities.shape == student.logits.shape
    return _judge(opinion_of(student), target, teacher if knows_classes else None)


def judge_kept(answers: KeptAnswers) -> dict[str, Any]:
    """Return the same of answers that were kept."""
    return _judge(answers.student, answers.target, answers.teacher)


def _judge(student: Opinion, target: NDArray[Any], teacher: Opinion | None) -> dict[str, Any]:
    if target.ndim == 2:
        shares = None if teacher is None else teacher.probabilities
        figures = judge_labels(student.probabilities, target, shares)
        table = tabulate_labels(student.probabilities, target)
        # The average precision keeps the name that it had before it stood in a table.
        reliability = tabulate_label_reliability(student.probabilities, target)
        named = {"class_ap": table["average_precision"], "by_class": table, "reliability": reliability}
        return {"agreement": None, **figures, **named}
    figures = {"top5_accuracy": None, "agreement": None, **judge_classes(student, target, teacher)}
    by_class, reliability = tabulate_classes(student, target), tabulate_reliability(student, target)
    return {**figures, "by_class": by_class, "reliability": reliability}


def read_kept_answers(path: Path) -> Mapping[str, KeptAnswers]:
    """Read a run's ``predictions.parquet``: the answers by split.

    Raises:
        RunError: there is no such file, or it is not one that dropkd wrote.
    """
    if not path.is_file():
        raise RunError(f"There are no predictions: {str(path)!r} does not exist. A run writes them when it ends.")
    try:
        table = pq.read_table(path, memory_map=True)
        # The rows of a split follow each other: a part of the table is no copy of it.
        names, starts = np.unique(table.column("split").to_numpy(zero_copy_only=False), return_index=True)
        ends = dict(zip(np.sort(starts).tolist(), [*np.sort(starts)[1:].tolist(), len(table)], strict=True))
        order = sorted(zip(starts.tolist(), names.tolist(), strict=True))
        return {name: _read_split(table.slice(start, ends[start] - start)) for start, name in order}
    except (OSError, KeyError, ValueError, IndexError, TypeError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a table of predictions as dropkd writes it ({error}).") from error


def _read_split(table: Any) -> KeptAnswers:
    has_sets = pa.types.is_list(table.schema.field("target").type)
    student = _read_opinion(table, "", has_sets)
    classes = student.probabilities.shape[1]
    target = _mark(table.column("target"), classes) if has_sets else _to_numbers(table.column("target"))
    paths = tuple(table.column("path").to_pylist())
    was_taught = not table.column("teacher_probabilities").null_count
    return KeptAnswers(paths, target, student, _read_opinion(table, "teacher_", has_sets) if was_taught else None)


def _read_opinion(table: Any, prefix: str, has_sets: bool) -> Opinion:
    column = table.column(f"{prefix}probabilities").combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    probabilities = values.reshape(len(column), -1)
    if has_sets:
        return Opinion((probabilities >= 0.5), probabilities)
    return Opinion(_to_numbers(table.column(f"{prefix}prediction")), probabilities)


def _to_numbers(column: Any) -> IntArray:
    return np.array(column.to_numpy(), np.int64)


def _mark(column: Any, classes: int) -> BoolArray:
    """Return (N, K), which labels each row names."""
    marks = np.zeros((len(column), classes), np.bool_)
    for row, labels in enumerate(column.to_pylist()):
        marks[row, labels] = True
    return marks
