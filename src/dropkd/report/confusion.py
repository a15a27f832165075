"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from dropkd.statistics.arrays import IntArray

__all__ = ["confusion_counts", "worst_pairs"]


def confusion_counts(target: IntArray, prediction: IntArray, num_classes: int) -> IntArray:
    """Return (K, K) counts: row = the true class, column = the answer."""
    flat = np.bincount(target * num_classes + prediction, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def worst_pairs(target: IntArray, prediction: IntArray, limit: int) -> list[tuple[int, int, int]]:
    """Return the commonest mistakes as (true class, answer, count), most frequent first; ties by class number."""
    wrong = target != prediction
    pairs, counts = np.unique(np.stack([target[wrong], prediction[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:limit]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order]
