"""Labels as arrays: one class for each image, or several labels and none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Targets", "count_labels", "mark_labels", "rows_by_class"]

# (N,) int64, the class of each image, or (N, K) float32 of 0 and 1 where an image has several labels or none.
Targets = NDArray[Any]


def count_labels(targets: Targets, classes: int) -> NDArray[np.int64]:
    """Return the number of images of each class, (K,).

    Example:
        >>> count_labels(np.array([0, 2, 2]), 3).tolist()
        [1, 0, 2]
        >>> count_labels(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), 3).tolist()
        [1, 2, 0]
    """
    if targets.ndim == 2:
        return np.asarray(targets.sum(axis=0, dtype=np.float64), np.int64)
    return np.bincount(targets, minlength=classes).astype(np.int64)


def mark_labels(rows: Sequence[Sequence[int]], classes: int) -> NDArray[np.float32]:
    """Return (N, K) with 1 for each class that an image has.

    Args:
        rows: the numbers of each image's classes, in any order; none of them is there.
        classes: K.

    Example:
        >>> mark_labels([[2, 0], []], 3).tolist()
        [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    marks = np.zeros((len(rows), classes), np.float32)
    for row, numbers in zip(marks, rows, strict=True):
        row[list(numbers)] = 1
    return marks


def rows_by_class(targets: NDArray[np.int64], classes: int) -> list[NDArray[np.int64]]:
    """Return the rows of each class, in their order; one look at the targets, however many classes there are.

    Args:
        targets: (N,) the class of each row.
        classes: K; what lies outside of 0 to K - 1 is passed over.

    Example:
        >>> [rows.tolist() for rows in rows_by_class(np.array([2, 0, 2, -1]), 3)]
        [[1], [], [0, 2]]
    """
    order = np.argsort(targets, kind="stable")
    edges = np.searchsorted(targets[order], np.arange(classes + 1))
    return [order[first:last] for first, last in pairwise(edges.tolist())]
