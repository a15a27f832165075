"""The answers of several runs to the same images, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dropkd.errors import ConfigError, RunError, did_you_mean
from dropkd.report.label_sets import LabelSets
from dropkd.report.predictions import Predictions
from dropkd.report.run_record import RunRecord
from dropkd.statistics import weighted
from dropkd.statistics.arrays import BoolArray, FloatArray
from dropkd.statistics.precision import draw_means, mean_precision
from dropkd.statistics.resampling import Statistic, draw_statistics

__all__ = ["FIGURES", "LABEL_FIGURES", "Sample", "choose_figure", "choose_split", "sample_runs"]

# Figures that can be computed again from what a run keeps; lower is better for a loss alone.
FIGURES = ("accuracy", "uar", "macro_f1", "loss")
LABEL_FIGURES = ("map", "exact_match")
_SPLITS = ("test", "val")
_LEAST = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True, eq=False)
class Sample:
    """One run's figure on a split.

    Args:
        run: whose.
        value: the figure.
        draws: (D,) the figure on images drawn from the split; each run's by the same draws.
        right: (N,) which images it has right, in the order that all runs share.
    """

    run: RunRecord
    value: float
    draws: FloatArray
    right: BoolArray


def choose_figure(runs: Sequence[RunRecord], figure: str | None) -> str:
    """Return the figure to compare, by default accuracy, or mAP where images have several labels.

    Raises:
        RunError: some runs have one class an image and others several labels.
        ConfigError: no such figure.
    """
    kinds = {run.is_multi_label for run in runs}
    if len(kinds) > 1:
        raise RunError("Some of these runs know one class an image and others several labels: nothing compares them.")
    there = LABEL_FIGURES if kinds == {True} else FIGURES
    chosen = figure or there[0]
    if chosen not in there:
        raise ConfigError(f"There is no figure {chosen!r} here: {', '.join(there)}.{did_you_mean(chosen, there)}")
    return chosen


def choose_split(runs: Sequence[RunRecord], split: str | None) -> str:
    """Return the split to compare on: by default test, else val, whichever all runs answered.

    Raises:
        RunError: a run has not answered it.
    """
    for name in (split,) if split is not None else _SPLITS:
        silent = [run for run in runs if name not in run.predictions and name not in run.label_sets]
        if not silent:
            return str(name)
    told = f"the split {split!r}" if split is not None else "test or validation images"
    why = next((gap for gap in silent[0].gaps if "predictions.parquet" in gap and silent[0].status == "finished"), "")
    raise RunError(
        f"{str(silent[0].folder)!r} has no answers to {told} ({silent[0].status}). "
        + (why or "A run writes them when it ends; leave it out, or finish it by `dropkd resume`.")
    )


def sample_runs(runs: Sequence[RunRecord], split: str, figure: str) -> list[Sample]:
    """Return each run's figure, its draws and its right answers, all by the same images in the same order.

    Raises:
        RunError: the runs answered different images, or the same with other labels.
    """
    orders = _align(runs, split)
    if figure == "map":
        return [_sample_labels(run, run.label_sets[split], order) for run, order in zip(runs, orders, strict=True)]
    described = [_describe(run, split, figure, order) for run, order in zip(runs, orders, strict=True)]
    images = len(orders[0])
    draws = draw_statistics({str(number): statistic for number, (statistic, _) in enumerate(described)}, images)
    once = np.ones((1, images))
    return [
        Sample(run, float(statistic(once)[0]), draws[str(number)], right)
        for number, (run, (statistic, right)) in enumerate(zip(runs, described, strict=True))
    ]


def _answers(run: RunRecord, split: str) -> Predictions | LabelSets:
    return run.label_sets[split] if run.is_multi_label else run.predictions[split]


def _align(runs: Sequence[RunRecord], split: str) -> list[list[int]]:
    """Return for each run the rows of its answers in the order of the first run's."""
    first = _answers(runs[0], split)
    orders = []
    for run in runs:
        other = _answers(run, split)
        places = {path: row for row, path in enumerate(other.paths)}
        order = [places.get(path, -1) for path in first.paths]
        absent = order.count(-1) + len(places) - (len(order) - order.count(-1))
        relabelled = 0 if absent else int(np.sum(_labels(other)[order] != _labels(first)))
        if absent or relabelled:
            what = f"{absent:,} images are in one alone" if absent else f"{relabelled:,} labels differ"
            raise RunError(
                f"{str(runs[0].folder)!r} and {str(run.folder)!r} were not judged by the same {split} images: {what}. "
                "Compare runs of the same data; `dropkd evaluate RUN DATA` judges a run on other data."
            )
        orders.append(order)
    return orders


def _labels(answers: Predictions | LabelSets) -> FloatArray:
    return np.asarray(answers.target, np.float64)


def _describe(run: RunRecord, split: str, figure: str, order: list[int]) -> tuple[Statistic, BoolArray]:
    if run.is_multi_label:
        sets = run.label_sets[split]
        right = sets.are_right(sets.student)[order]
        return partial(weighted.mean_where, right, None), right
    answers = run.predictions[split]
    target, prediction, truth = answers.target[order], answers.student.prediction[order], answers.student.truth[order]
    right = prediction == target
    classes = answers.num_classes
    statistics: dict[str, Statistic] = {
        "accuracy": partial(weighted.mean_where, right, None),
        "uar": lambda w: weighted.mean_over_classes(weighted.class_recall(prediction, target, classes, w)),
        "macro_f1": lambda w: weighted.mean_over_classes(weighted.class_f1(prediction, target, classes, w)),
        "loss": partial(weighted.mean_where, -np.log(np.maximum(truth, _LEAST)), None),
    }
    return statistics[figure], right


def _sample_labels(run: RunRecord, sets: LabelSets, order: list[int]) -> Sample:
    scores, target = sets.student[order], sets.target[order]
    right = sets.are_right(sets.student)[order]
    return Sample(run, mean_precision(scores, target), draw_means(scores, target), right)
