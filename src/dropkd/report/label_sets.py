"""What the student, and its teacher, answered to each image of several labels; from ``predictions.parquet``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dropkd.errors import RunError
from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray
from dropkd.statistics.precision import draw_means

__all__ = ["LabelSets", "holds_label_sets", "loss_of_rows", "read_label_sets", "shared_images"]

# A probability of 0 in float32 would make an infinite loss.
_LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class LabelSets:
    """All answers to one split, in the order of the split.

    Args:
        paths: the images, relative to the data's root.
        target: (N, K) which labels each image has.
        student: (N, K) the student's probabilities.
        teacher: (N, K) the teacher's, or None without a teacher that shares the student's classes.
    """

    paths: tuple[str, ...]
    target: BoolArray
    student: FloatArray
    teacher: FloatArray | None

    @cached_property
    def student_draws(self) -> FloatArray:
        """The student's mean average precision on images drawn from these."""
        return draw_means(self.student, self.target)

    @cached_property
    def teacher_draws(self) -> FloatArray | None:
        """The same of the teacher."""
        return None if self.teacher is None else draw_means(self.teacher, self.target)

    def are_right(self, shares: FloatArray) -> BoolArray:
        """Return (N,) for which images these probabilities name all labels and no other."""
        return np.asarray(((shares >= 0.5) == self.target).all(axis=1), np.bool_)


def holds_label_sets(path: Path) -> bool:
    """Tell whether a table of predictions is one of several labels an image.

    Raises:
        RunError: the file is no such table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pa.types.is_list(pq.read_schema(path).field("target").type))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a table of predictions as dropkd writes it ({error}).") from error


def read_label_sets(path: Path) -> dict[str, LabelSets]:
    """Read the answers of each split.

    Raises:
        RunError: the file is not a parquet table with the columns that dropkd writes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = {name: table.column(name).to_pylist() for name in ("split", "path", "target", "probabilities")}
        taught = table.column("teacher_probabilities").to_pylist()
        return _part(columns, taught)
    except (OSError, KeyError, ValueError, IndexError, TypeError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a table of predictions as dropkd writes it ({error}).") from error


def loss_of_rows(shares: FloatArray, target: BoolArray) -> FloatArray:
    """Return (N,) the binary cross-entropy of each image, a mean over classes."""
    right = np.where(target, shares, 1 - shares).clip(_LEAST, 1)
    return np.asarray(-np.log(right).mean(axis=1), np.float64)


def shared_images(first: LabelSets, second: LabelSets) -> tuple[IntArray, IntArray]:
    """Return the rows of the images that both answered, with the same labels, in the order of the first."""
    if first.target.shape[1:] != second.target.shape[1:]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = {path: row for row, path in enumerate(second.paths)}
    pairs = [
        (row, places[path])
        for row, path in enumerate(first.paths)
        if path in places and np.array_equal(first.target[row], second.target[places[path]])
    ]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _part(columns: dict[str, list[Any]], taught: Sequence[Any]) -> dict[str, LabelSets]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, split in enumerate(columns["split"]):
        rows[split].append(row)
    found = {}
    for split, chosen in rows.items():
        student = np.array([columns["probabilities"][k] for k in chosen], np.float64)
        target = np.zeros(student.shape, np.bool_)
        for marks, k in zip(target, chosen, strict=True):
            marks[columns["target"][k]] = True
        theirs = [taught[k] for k in chosen]
        teacher = None if any(shares is None for shares in theirs) else np.array(theirs, np.float64)
        found[split] = LabelSets(tuple(columns["path"][k] for k in chosen), target, student, teacher)
    return found
