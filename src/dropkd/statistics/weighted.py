"""Figures of a split as functions of how often each image counts, which the bootstrap asks for many times at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray

__all__ = [
    "CALIBRATION_BINS",
    "calibration_error",
    "class_f1",
    "class_precision",
    "class_recall",
    "find_bins",
    "mean_over_classes",
    "mean_where",
    "rank_area",
]

# Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
CALIBRATION_BINS = 15


def mean_where(values: FloatArray | BoolArray, chosen: BoolArray | None, weights: FloatArray) -> FloatArray:
    """Return the weighted mean of the values of the chosen images, (D,); nan where none of them has weight."""
    if chosen is None:
        return _divide(weights @ values, weights.sum(axis=1))
    return _divide(weights[:, chosen] @ values[chosen], weights[:, chosen].sum(axis=1))


def class_recall(prediction: IntArray, target: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    """Return the share of each class's images that is found, (D, K); nan for classes without images."""
    return _divide(_hits(prediction, target, classes, weights), sum_by_class(target, classes, weights))


def class_precision(prediction: IntArray, target: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    """Return which share of the answers of each class is right, (D, K); 0 where a class is never answered."""
    answered = sum_by_class(prediction, classes, weights)
    return np.nan_to_num(_divide(_hits(prediction, target, classes, weights), answered))


def class_f1(prediction: IntArray, target: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    """Return each class's harmonic mean of precision and recall, (D, K); nan for classes without images."""
    present = sum_by_class(target, classes, weights)
    f1 = _divide(2 * _hits(prediction, target, classes, weights), present + sum_by_class(prediction, classes, weights))
    return np.where(present > 0, f1, np.nan)


def mean_over_classes(values: FloatArray) -> FloatArray:
    """Return the mean over the classes that have images, (D,)."""
    known = ~np.isnan(values)
    return _divide(np.nansum(values, axis=1), known.sum(axis=1))


def find_bins(confidence: NDArray[np.floating], bins: int = CALIBRATION_BINS) -> IntArray:
    """Return the bin of equal width that each confidence lies in; a border belongs to the bin below it."""
    return np.asarray(np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1), np.int64)


def calibration_error(confidence: FloatArray, right: BoolArray, weights: FloatArray) -> FloatArray:
    """Return the expected calibration error, (D,): how far confidence and accuracy lie apart within a bin, on average.

    References:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    """
    gaps = sum_by_class(find_bins(confidence), CALIBRATION_BINS, weights * (confidence - right))
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1), np.float64)


def rank_area(scores: FloatArray, present: BoolArray, weights: FloatArray) -> FloatArray:
    """Return the area under the ROC curve, (D,): how often an image of the class has the higher score; ties are half.

    nan where only one of the two classes has weight.
    """
    order = np.argsort(scores, kind="stable")
    ranked, counted, hits = scores[order], weights[:, order], present[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])
    positive = np.add.reduceat(counted * hits, starts, axis=1)
    negative = np.add.reduceat(counted * ~hits, starts, axis=1)
    below = negative.cumsum(axis=1) - negative / 2
    return _divide((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def sum_by_class(labels: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    """Return the weight of each class's images, (D, K)."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums = np.zeros((len(weights), classes))
    if len(labels):
        sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _hits(prediction: IntArray, target: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    return sum_by_class(target, classes, weights * (prediction == target))


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan), np.float64)
