"""Compares two runs on the images that both answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dropkd.report.label_sets import shared_images
from dropkd.report.predictions import Predictions
from dropkd.report.run_record import RunRecord
from dropkd.statistics.arrays import IntArray, Interval
from dropkd.statistics.intervals import interval_of, interval_of_share, unpaired_margin, wilson_interval
from dropkd.statistics.pairs import PairedComparison, compare_paired

__all__ = ["Difference", "accuracy_interval", "compare_runs", "shared_rows"]


@dataclass(frozen=True)
class Difference:
    """How much more of a split's images a run has right than another run, or by how much its mAP is higher.

    Args:
        split: the split.
        value: difference of the accuracies, or of mAP, a fraction.
        interval: its 95 % interval, from the sampling of images alone.
        paired: the comparison image by image, or None where answers are missing and the interval is unpaired, and for
            mAP, whose interval is that of images drawn for both runs alike.
        is_map: whether it is one of mAP.
    """

    split: str
    value: float
    interval: Interval
    paired: PairedComparison | None
    is_map: bool = False

    @property
    def verdict(self) -> str:
        """Return ``better``, ``worse`` or ``unclear``."""
        if self.interval[0] > 0:
            return "better"
        return "worse" if self.interval[1] < 0 else "unclear"

    @property
    def margin(self) -> float:
        """Return half the width of the interval."""
        return (self.interval[1] - self.interval[0]) / 2


def compare_runs(run: RunRecord, reference: RunRecord, split: str) -> Difference | None:
    """Compare a run with another on a split, or return None where there is nothing to compare."""
    if run.is_multi_label or reference.is_multi_label:
        return _compare_label_runs(run, reference, split)
    accuracy, other = run.score(split), reference.score(split)
    first, second = run.predictions.get(split), reference.predictions.get(split)
    if first is not None and second is not None:
        rows, other_rows = shared_rows(first, second)
        if len(rows):
            paired = compare_paired(first.student_right[rows], second.student_right[other_rows])
            return Difference(split, paired.difference, paired.interval, paired)
    if accuracy is None or other is None:
        return None
    images = int(run.figure("splits", split, "images") or 0)
    value, margin = accuracy - other, unpaired_margin((accuracy + other) / 2, images)
    return Difference(split, value, (value - margin, value + margin), None)


def _compare_label_runs(run: RunRecord, reference: RunRecord, split: str) -> Difference | None:
    """Compare two runs by mean average precision, its interval by drawing images from those that both answered."""
    mine, other = run.score(split), reference.score(split)
    first, second = run.label_sets.get(split), reference.label_sets.get(split)
    if mine is None or other is None or first is None or second is None:
        return None
    rows, other_rows = shared_images(first, second)
    if len(rows) < len(first.paths) or len(rows) < len(second.paths) or not np.array_equal(rows, other_rows):
        return None
    return Difference(
        split, mine - other, interval_of(mine - other, first.student_draws - second.student_draws), None, is_map=True
    )


def shared_rows(first: Predictions, second: Predictions) -> tuple[IntArray, IntArray]:
    """Return the rows of the images that both answered, with the same true class, in the order of the first."""
    places = {path: row for row, path in enumerate(second.paths)}
    pairs = [
        (row, places[path])
        for row, path in enumerate(first.paths)
        if path in places and first.target[row] == second.target[places[path]]
    ]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def accuracy_interval(run: RunRecord, split: str) -> Interval | None:
    """Return the 95 % interval of the student's accuracy, or mAP, on a split, or None before there is one.

    The run's own, where it wrote one.
    """
    accuracy, images = run.score(split), run.figure("splits", split, "images")
    told = run.interval(split, run.headline)
    if accuracy is not None and told is not None:
        return told
    if accuracy is None or not images:
        return None
    if run.is_multi_label:
        answers = run.label_sets.get(split)
        return None if answers is None else interval_of_share(accuracy, answers.student_draws)
    return wilson_interval(round(accuracy * images), int(images))
