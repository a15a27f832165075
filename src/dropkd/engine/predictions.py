"""Writes ``predictions.parquet``: what the student, and its teacher, answered to each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dropkd.engine.evaluation import Answers

__all__ = ["PredictionsFile"]

# Probabilities that are turned into a column at once: 64 MiB of them.
_AT_ONCE = 1 << 24


class PredictionsFile:
    """The table as it grows, a stretch of images at a time, so that no more of it than that is in memory.

    Args:
        path: where it is written; it is whole once the ``with`` block has ended.
        multi_label: whether an image may have several labels, or none.
    """

    def __init__(self, path: Path, multi_label: bool) -> None:
        self._schema = _describe_columns(multi_label)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> PredictionsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def add(self, split: str, paths: Sequence[str], student: Answers, teacher: Answers | None) -> None:
        """Write the answers to the images of a split."""
        stretch = max(1, _AT_ONCE // student.logits.shape[1])
        for start in range(0, len(paths), stretch):
            rows = slice(start, start + stretch)
            columns = {
                "split": pa.array([split] * len(paths[rows]), pa.string()),
                "path": pa.array(paths[rows], pa.string()),
                "target": self._labels("target", student.target[rows]),
            }
            for prefix, answers in (("", student), ("teacher_", teacher)):
                for name in ("prediction", "probabilities"):
                    kind = self._schema.field(f"{prefix}{name}").type
                    columns[f"{prefix}{name}"] = pa.nulls(len(paths[rows]), kind)
                if answers is not None:
                    some = Answers(answers.logits[rows], answers.target[rows])
                    columns[f"{prefix}prediction"] = self._labels(f"{prefix}prediction", some.prediction)
                    columns[f"{prefix}probabilities"] = _list_rows(some.probabilities)
            self._writer.write_table(pa.table(columns, schema=self._schema))

    def _labels(self, column: str, labels: Tensor) -> pa.Array:
        """Return the class of each image, or the numbers of all of its classes."""
        named: list[Any] = labels.tolist()
        if labels.ndim == 2:
            named = [row.nonzero().flatten().tolist() for row in labels]
        return pa.array(named, self._schema.field(column).type)


def _list_rows(values: Tensor) -> pa.Array:
    """Return a column of lists, one a row."""
    edges = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(edges), pa.array(values.reshape(-1).numpy()))


def _describe_columns(multi_label: bool) -> pa.Schema:
    label = pa.list_(pa.int64()) if multi_label else pa.int64()
    return pa.schema(
        [
            ("split", pa.string()),
            ("path", pa.string()),
            ("target", label),
            ("prediction", label),
            ("probabilities", pa.list_(pa.float32())),
            ("teacher_prediction", label),
            ("teacher_probabilities", pa.list_(pa.float32())),
        ]
    )
