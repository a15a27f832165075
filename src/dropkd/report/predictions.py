"""Reads ``predictions.parquet``: what the student, and its teacher, answered to each image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dropkd.errors import RunError
from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray

__all__ = ["Answers", "Predictions", "class_names", "read_predictions"]

# Rows read at once: with 10,000 classes a batch is 40 MB of probabilities.
_BATCH_ROWS = 1024
_NO_ANSWER = -1


@dataclass(frozen=True)
class Answers:
    """One network's answers to a split, one row an image.

    Args:
        prediction: (N,) the class answered.
        confidence: (N,) its probability; NaN where no probabilities were kept.
        truth: (N,) the probability of the true class; NaN likewise.
    """

    prediction: IntArray
    confidence: FloatArray
    truth: FloatArray


@dataclass(frozen=True)
class Predictions:
    """All answers to one split, in the order of the split.

    Args:
        paths: the images, relative to the data's root.
        target: (N,) the true class.
        student: the student's answers.
        teacher: the teacher's, or None without a teacher that shares the student's classes.
        num_classes: classes of the task.
    """

    paths: tuple[str, ...]
    target: IntArray
    student: Answers
    teacher: Answers | None
    num_classes: int

    @property
    def student_right(self) -> BoolArray:
        """Return (N,) where the student is right."""
        return np.equal(self.student.prediction, self.target)

    @property
    def teacher_right(self) -> BoolArray | None:
        """Return (N,) where the teacher is right, or None without a teacher."""
        return None if self.teacher is None else np.equal(self.teacher.prediction, self.target)


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Read the answers of each split; of the probabilities only the two that a report shows are kept.

    Raises:
        RunError: the file is not a parquet table with the columns that dropkd writes.
    """
    import pyarrow as pa

    try:
        return _read_table(path)
    except (OSError, KeyError, ValueError, IndexError, TypeError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a table of predictions as dropkd writes it ({error}).") from error


def class_names(splits: Mapping[str, Predictions]) -> tuple[str, ...] | None:
    """Return each class's name as the folder that most of its images lie in, or None where folders do not tell."""
    votes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for answers in splits.values():
        for path, target in zip(answers.paths, answers.target.tolist(), strict=True):
            votes[target][PurePosixPath(path).parent.name] += 1
    total = max((answers.num_classes for answers in splits.values()), default=0)
    names = [votes[k].most_common(1)[0][0] if k in votes else f"class {k}" for k in range(total)]
    return tuple(names) if names and all(names) and len(set(names)) == len(names) else None


def _read_table(path: Path) -> dict[str, Predictions]:
    import pyarrow.parquet as pq

    parts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    classes = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            rows = _digest_batch(batch)
            classes = max(classes, rows.pop("classes"))
            for split in dict.fromkeys(rows["split"].tolist()):
                chosen = rows["split"] == split
                parts[split].append({name: column[chosen] for name, column in rows.items()})
    merged = {split: {k: np.concatenate([p[k] for p in part]) for k in part[0]} for split, part in parts.items()}
    return {split: _build(columns, classes) for split, columns in merged.items()}


def _digest_batch(batch: Any) -> dict[str, Any]:
    """Turn a record batch into plain columns, with two probabilities a row and network instead of K."""
    columns = {name: batch.column(name) for name in ("split", "path", "target", "prediction")}
    target = columns["target"].to_numpy(zero_copy_only=False).astype(np.int64)
    rows: dict[str, Any] = {
        "split": np.array(columns["split"].to_pylist(), dtype=object),
        "path": np.array(columns["path"].to_pylist(), dtype=object),
        "target": target,
    }
    present = set(batch.schema.names)
    classes = int(target.max(initial=-1)) + 1
    for network, prefix in (("student", ""), ("teacher", "teacher_")):
        name, probabilities = f"{prefix}prediction", f"{prefix}probabilities"
        answered = batch.column(name).to_pylist() if name in present else [None] * len(target)
        prediction = np.array([_NO_ANSWER if a is None else a for a in answered], dtype=np.int64)
        lists = batch.column(probabilities) if probabilities in present else None
        rows[network] = prediction
        rows[f"{network}_confidence"] = _take(lists, prediction)
        rows[f"{network}_truth"] = _take(lists, target)
        classes = max(classes, int(prediction.max(initial=-1)) + 1)
        if network == "student" and lists is not None and len(lists):
            classes = max(classes, len(lists[0].as_py() or ()))
    return rows | {"classes": classes}


def _take(lists: Any, index: IntArray) -> FloatArray:
    """Return the probability at ``index`` of each row's list; NaN where there is none."""
    taken = np.full(len(index), np.nan)
    if lists is None:
        return taken
    values, offsets = lists.values.to_numpy(zero_copy_only=False), lists.offsets.to_numpy()
    start, end = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    position = start + index
    valid = (index >= 0) & (position < end) & lists.is_valid().to_numpy(zero_copy_only=False)
    taken[valid] = values[position[valid]]
    return taken


def _build(columns: dict[str, Any], classes: int) -> Predictions:
    answers = {
        network: Answers(columns[network], columns[f"{network}_confidence"], columns[f"{network}_truth"])
        for network in ("student", "teacher")
    }
    teacher = None if np.any(answers["teacher"].prediction == _NO_ANSWER) else answers["teacher"]
    return Predictions(tuple(columns["path"]), columns["target"], answers["student"], teacher, classes)
