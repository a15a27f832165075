"""What a network's answers to a split are worth, and what of them is the teacher's: figures with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import DataError, ModelError
from dropkd.statistics import weighted
from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray, Interval
from dropkd.statistics.intervals import interval_of_share, percentile_interval, wilson_interval
from dropkd.statistics.resampling import Statistic, draw_statistics

__all__ = ["Opinion", "judge_classes", "tabulate_classes", "tabulate_reliability"]

# The smallest float32 above 0: a probability that was rounded to nothing costs no more than this one.
_LEAST = float(np.finfo(np.float32).smallest_subnormal)
_TOP = 5
_MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Opinion:
    """What a network answers to N images of K classes.

    Args:
        prediction: (N,) the class answered.
        probabilities: (N, K); each row adds up to 1.
    """

    prediction: IntArray
    probabilities: NDArray[np.float32]

    @property
    def confidence(self) -> FloatArray:
        """(N,) the probability of the class answered."""
        return self.probabilities[np.arange(len(self.prediction)), self.prediction].astype(np.float64)


def judge_classes(student: Opinion, target: IntArray, teacher: Opinion | None = None) -> dict[str, Any]:
    """Return a network's figures on a split, and under ``intervals`` the 95 % interval of each.

    All but the losses are fractions. ``accuracy``; ``top5_accuracy``, from six classes on; ``uar``, the mean recall of
    the classes that have images, and ``macro_f1`` of the same; ``loss``, the mean of -log p of the true class; ``ece``,
    the expected calibration error in 15 bins; ``auroc``, for two classes.

    Beside a teacher: ``agreement``, the share of images on which both name the same class;
    ``kl_to_teacher``, the mean of KL(teacher || student) in nats; ``accuracy_teacher_right`` and
    ``accuracy_teacher_wrong``, the student's on the images that the teacher has right and wrong; ``shared_errors``, the
    share of the student's errors that are the teacher's too, with the same answer. ``beside_teacher`` has the counts.

    The intervals are of the sampling of images alone: percentiles over 1,000 draws of the images with replacement (200
    for a million images), always the same ones. For ``ece``, which images drawn twice raise, they are the value and
    1.96 deviations of the draws; where all images or none are right, Wilson's.

    Args:
        student: of the network that is judged.
        target: (N,), the true classes.
        teacher: of the other, on the same images; None without one.

    Raises:
        DataError: there are no images.
        ModelError: shapes that do not fit each other.

    Example:
        >>> answers = Opinion(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]], np.float32))
        >>> figures = judge_classes(answers, np.array([0, 0]))
        >>> figures["accuracy"], figures["intervals"]["accuracy"]
        (0.5, (0.0, 1.0))
    """
    _check(student, target, teacher)
    statistics = _describe_student(student, target)
    if teacher is not None:
        statistics |= _describe_pair(student, teacher, target)
    once = np.ones((1, len(target)))
    figures = {name: _known(float(statistic(once)[0])) for name, statistic in statistics.items()}
    bases = dict.fromkeys(("accuracy", "top5_accuracy", "agreement"), len(target))
    beside: dict[str, Any] = {}
    if teacher is not None:
        right, teacher_right = int((student.prediction == target).sum()), int((teacher.prediction == target).sum())
        bases |= {
            "accuracy_teacher_right": teacher_right,
            "accuracy_teacher_wrong": len(target) - teacher_right,
            "shared_errors": len(target) - right,
        }
        beside["beside_teacher"] = _count_beside(student, teacher, target)
    intervals = make_intervals(figures, draw_statistics(statistics, len(target)), bases=bases)
    return {"images": len(target), **figures, **beside, "intervals": intervals}


def make_intervals(
    figures: Mapping[str, Any],
    draws: Mapping[str, FloatArray],
    *,
    bases: Mapping[str, int],
    raised: frozenset[str] = frozenset({"ece"}),
) -> dict[str, Interval | None]:
    """Return the 95 % interval of each figure.

    Args:
        figures: the values; None for one that is not defined.
        draws: (D,), the same on drawn images.
        bases: of how many images a figure is a share. Where all of them or none are right, so they are in each draw,
            and the interval is Wilson's.
        raised: figures that images drawn twice raise: theirs is by the deviation of the draws, not by percentiles.
    """
    intervals: dict[str, Interval | None] = {}
    for name, drawn in draws.items():
        value = figures[name]
        if value is None:
            intervals[name] = None
        elif name in bases and value in (0, 1):
            intervals[name] = wilson_interval(int(value) * bases[name], bases[name])
        elif name in raised:
            intervals[name] = interval_of_share(value, drawn)
        else:
            intervals[name] = percentile_interval(drawn)
    return intervals


def tabulate_classes(student: Opinion, target: IntArray) -> dict[str, list[Any]]:
    """Return for each class how many images it has and the precision, recall and F1 of its answers.

    Recall and F1 are None for a class without images, precision for one that is never answered.
    """
    classes, once = student.probabilities.shape[1], np.ones((1, len(target)))
    answered = np.bincount(student.prediction, minlength=classes)
    args = (student.prediction, target, classes, once)
    precision = [
        None if not count else float(value)
        for count, value in zip(answered, weighted.class_precision(*args)[0], strict=True)
    ]
    return {
        "images": np.bincount(target, minlength=classes).tolist(),
        "answered": answered.tolist(),
        "precision": precision,
        "recall": [_known(value) for value in weighted.class_recall(*args)[0].tolist()],
        "f1": [_known(value) for value in weighted.class_f1(*args)[0].tolist()],
    }


def tabulate_reliability(student: Opinion, target: IntArray) -> dict[str, list[Any]]:
    """Return for each of 15 bins of confidence how many images it has, their mean confidence and their accuracy."""
    confidence, right = student.confidence, student.prediction == target
    bins = weighted.find_bins(confidence)
    images = np.bincount(bins, minlength=weighted.CALIBRATION_BINS)

    def average(values: NDArray[Any]) -> list[float | None]:
        sums = np.bincount(bins, weights=values, minlength=len(images))
        return [float(total / count) if count else None for total, count in zip(sums, images, strict=True)]

    return {"images": images.tolist(), "confidence": average(confidence), "accuracy": average(right)}


def _describe_student(student: Opinion, target: IntArray) -> dict[str, Statistic]:
    probabilities, prediction = student.probabilities, student.prediction
    classes, right = probabilities.shape[1], prediction == target
    truth = probabilities[np.arange(len(target)), target]
    statistics: dict[str, Statistic] = {"accuracy": partial(weighted.mean_where, right, None)}
    if classes > _TOP:
        statistics["top5_accuracy"] = partial(weighted.mean_where, _is_among_best(probabilities, truth), None)
    args = (prediction, target, classes)
    statistics |= {
        "uar": lambda w: weighted.mean_over_classes(weighted.class_recall(*args, w)),
        "macro_f1": lambda w: weighted.mean_over_classes(weighted.class_f1(*args, w)),
        "loss": partial(weighted.mean_where, -np.log(np.maximum(truth.astype(np.float64), _LEAST)), None),
        "ece": partial(weighted.calibration_error, student.confidence, right),
    }
    if classes == 2:
        # By the odds: probabilities near 1 are rounded to the same number, those near 0 are not.
        odds = np.log(np.maximum(probabilities.astype(np.float64), _LEAST)) @ np.array([-1.0, 1.0])
        statistics["auroc"] = partial(weighted.rank_area, odds, target == 1)
    return statistics


def _describe_pair(student: Opinion, teacher: Opinion, target: IntArray) -> dict[str, Statistic]:
    right, teacher_right = student.prediction == target, teacher.prediction == target
    agrees = student.prediction == teacher.prediction
    return {
        "agreement": partial(weighted.mean_where, agrees, None),
        "kl_to_teacher": partial(weighted.mean_where, _diverge(teacher.probabilities, student.probabilities), None),
        "accuracy_teacher_right": partial(weighted.mean_where, right, teacher_right),
        "accuracy_teacher_wrong": partial(weighted.mean_where, right, ~teacher_right),
        "shared_errors": partial(weighted.mean_where, agrees, ~right),
    }


def _count_beside(student: Opinion, teacher: Opinion, target: IntArray) -> dict[str, int]:
    right, teacher_right = student.prediction == target, teacher.prediction == target
    counted = {
        "both_right": right & teacher_right,
        "student_alone_right": right & ~teacher_right,
        "teacher_alone_right": ~right & teacher_right,
        "both_wrong": ~right & ~teacher_right,
        "same_error": ~right & (student.prediction == teacher.prediction),
    }
    return {name: int(chosen.sum()) for name, chosen in counted.items()}


def _is_among_best(probabilities: NDArray[np.float32], truth: NDArray[np.float32]) -> BoolArray:
    """Tell where fewer than five classes are more probable than the true one."""
    parts = [(probabilities[rows] > truth[rows, None]).sum(axis=1) < _TOP for rows in _cut_rows(probabilities)]
    return np.concatenate(parts)


def _diverge(first: NDArray[np.float32], second: NDArray[np.float32]) -> FloatArray:
    """Return KL(first || second) of each row, in nats."""
    parts = []
    for rows in _cut_rows(first):
        p, q = (np.maximum(shares[rows].astype(np.float64), _LEAST) for shares in (first, second))
        parts.append((p * (np.log(p) - np.log(q))).sum(axis=1))
    return np.concatenate(parts)


def _cut_rows(table: NDArray[Any]) -> Iterator[slice]:
    """Part the rows, so that with ten thousand classes no second table of that size is made."""
    step = max(1, _MOST_CELLS // table.shape[1])
    return (slice(start, start + step) for start in range(0, len(table), step))


def _known(value: float) -> float | None:
    return None if value != value else value


def _check(student: Opinion, target: IntArray, teacher: Opinion | None) -> None:
    if not len(target):
        raise DataError("the figures of no images are not defined.")
    shape = (len(target), student.probabilities.shape[1])
    for opinion in (student, teacher):
        if opinion is None:
            continue
        if opinion.probabilities.shape != shape or opinion.prediction.shape != target.shape:
            raise ModelError(
                f"probabilities must be {shape} and predictions ({len(target)},), got {opinion.probabilities.shape} "
                f"and {opinion.prediction.shape}."
            )
