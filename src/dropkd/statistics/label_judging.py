"""What answers are worth where an image has several labels, or none; figures with their intervals."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import DataError, ModelError
from dropkd.statistics import weighted
from dropkd.statistics.arrays import BoolArray, FloatArray
from dropkd.statistics.judging import make_intervals
from dropkd.statistics.precision import average_precision, draw_means
from dropkd.statistics.resampling import Statistic, draw_statistics

__all__ = ["judge_labels", "tabulate_label_reliability", "tabulate_labels"]

Shares = NDArray[np.float32]

# As small as float32 can be below 1: a probability that was rounded to 0 or 1 costs no more than this one.
_LEAST = 2.0**-24
_MEAN_PRECISION = "map"


def judge_labels(student: Shares, target: BoolArray, teacher: Shares | None = None) -> dict[str, Any]:
    """Return a network's figures on a split, and under ``intervals`` the 95 % interval of each.

    ``map``, the mean average precision over the classes that an image has; of the labels with a probability of 0.5 or
    more, ``micro_f1`` of all classes together, ``macro_f1``, the mean over the classes that an image has, and
    ``exact_match``, the share of images with exactly the right labels; ``loss``, the binary cross-entropy, a mean over
    classes and images; ``ece``, the expected calibration error of all (image, class) questions in 15 bins. Beside a
    teacher: ``agreement``, the share of images for which both name the same labels, and ``kl_to_teacher``, the mean
    over classes and images of KL(teacher || student) in nats.

    Args:
        student: (N, K), probabilities.
        target: (N, K), which labels each image has.
        teacher: (N, K), the other network's probabilities; None without one.

    Raises:
        DataError: no image has a label.
        ModelError: shapes that do not fit each other.
    """
    for shares in (student, teacher):
        if shares is not None and shares.shape != target.shape:
            raise ModelError(f"probabilities must be {target.shape} like the labels, got {shares.shape}.")
    if not target.any():
        raise DataError("the figures of images without labels are not defined.")
    statistics = _describe(student, target)
    if teacher is not None:
        agrees = ((student >= 0.5) == (teacher >= 0.5)).all(axis=1)
        statistics["agreement"] = partial(weighted.mean_where, agrees, None)
        statistics["kl_to_teacher"] = partial(weighted.mean_where, _diverge(teacher, student), None)
    once = np.ones((1, len(target)))
    by_class = [average_precision(s, t, once)[0] for s, t in zip(student.T, target.T, strict=True)]
    figures = {_MEAN_PRECISION: float(np.nanmean(by_class))}
    figures |= {name: float(statistic(once)[0]) for name, statistic in statistics.items()}
    draws = draw_statistics(statistics, len(target)) | {_MEAN_PRECISION: draw_means(student, target)}
    bases = dict.fromkeys(("exact_match", "agreement"), len(target))
    intervals = make_intervals(figures, draws, bases=bases, raised=frozenset({"ece", _MEAN_PRECISION}))
    return {"images": len(target), **figures, "intervals": intervals}


def tabulate_labels(student: Shares, target: BoolArray) -> dict[str, list[Any]]:
    """Return for each class how many images have it, and precision, recall, F1 and average precision of its answers.

    Recall, F1 and average precision are None for a class that no image has, precision for one that is never named.
    """
    named = student >= 0.5
    images, answered, hits = target.sum(axis=0), named.sum(axis=0), (named & target).sum(axis=0)
    once = np.ones((1, len(target)))
    precision = [average_precision(s, t, once)[0] for s, t in zip(student.T, target.T, strict=True)]

    def divide(above: NDArray[Any], below: NDArray[Any], known: NDArray[Any]) -> list[float | None]:
        return [float(a / b) if k else None for a, b, k in zip(above, below, known, strict=True)]

    return {
        "images": images.tolist(),
        "answered": answered.tolist(),
        "precision": divide(hits, answered, answered),
        "recall": divide(hits, images, images),
        "f1": divide(2 * hits, images + answered, images),
        "average_precision": [None if value != value else float(value) for value in precision],
    }


def tabulate_label_reliability(student: Shares, target: BoolArray) -> dict[str, list[Any]]:
    """Return for each of 15 bins of probability how many (image, class) questions it has and their mean probability.

    ``images`` counts the questions, ``confidence`` is their mean probability, ``accuracy`` the share whose label is
    there.
    """
    bins = weighted.find_bins(student).ravel()
    count, size = np.bincount(bins, minlength=weighted.CALIBRATION_BINS), weighted.CALIBRATION_BINS

    def average(values: NDArray[Any]) -> list[float | None]:
        sums = np.bincount(bins, weights=values.ravel().astype(np.float64), minlength=size)
        return [float(total / n) if n else None for total, n in zip(sums, count, strict=True)]

    return {"images": count.tolist(), "confidence": average(student), "accuracy": average(target)}


def _describe(student: Shares, target: BoolArray) -> dict[str, Statistic]:
    named = student >= 0.5
    hits, wanted = (named & target).astype(np.float64), target.astype(np.float64)
    marked = named.astype(np.float64)

    def micro_f1(weights: FloatArray) -> FloatArray:
        both = weights @ (wanted + marked).sum(axis=1)
        return np.asarray(2 * (weights @ hits.sum(axis=1)) / np.maximum(both, 1e-12), np.float64)

    def macro_f1(weights: FloatArray) -> FloatArray:
        images = weights @ wanted
        f1 = 2 * (weights @ hits) / np.maximum(images + weights @ marked, 1e-12)
        return weighted.mean_over_classes(np.where(images > 0, f1, np.nan))

    def calibration_error(weights: FloatArray) -> FloatArray:
        return np.asarray(np.abs(weights @ gaps).sum(axis=1) / (weights.sum(axis=1) * target.shape[1]), np.float64)

    gaps = _gaps_by_bin(student, target)
    return {
        "micro_f1": micro_f1,
        "macro_f1": macro_f1,
        "exact_match": partial(weighted.mean_where, (named == target).all(axis=1), None),
        "loss": partial(weighted.mean_where, _lose(student, target), None),
        "ece": calibration_error,
    }


def _gaps_by_bin(student: Shares, target: BoolArray) -> FloatArray:
    """Return for each image and bin the sum of probability less label over its questions, (N, bins)."""
    gaps = np.zeros((len(target), weighted.CALIBRATION_BINS))
    rows = np.broadcast_to(np.arange(len(target))[:, None], target.shape)
    np.add.at(gaps, (rows, weighted.find_bins(student)), student.astype(np.float64) - target)
    return gaps


def _lose(student: Shares, target: BoolArray) -> FloatArray:
    right = np.where(target, student, 1 - student.astype(np.float64))
    return np.asarray(-np.log(np.maximum(right, _LEAST)).mean(axis=1), np.float64)


def _diverge(first: Shares, second: Shares) -> FloatArray:
    """Return the mean over the classes of KL(first || second) of a yes and a no, in nats."""
    p, q = (np.clip(shares.astype(np.float64), _LEAST, 1 - _LEAST) for shares in (first, second))
    return np.asarray((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(axis=1), np.float64)
