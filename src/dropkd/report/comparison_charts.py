"""The charts of a comparison: accuracies with their intervals, and validation over epochs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from dropkd.report.charts import Chart, Series, draw_curves
from dropkd.report.dots import Dot, draw_dots
from dropkd.report.event_log import Points
from dropkd.report.groups import Group
from dropkd.report.pairing import accuracy_interval
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import decimal, percent, whole_percent
from dropkd.statistics.arrays import Interval
from dropkd.statistics.intervals import Spread, wilson_interval

__all__ = ["draw_accuracies", "draw_validation", "group_interval"]


def draw_accuracies(groups: Sequence[Group], split: str) -> Chart | None:
    """Draw each group's accuracy, with its interval, below that of the teachers."""
    dots = _draw_teachers(groups, split)
    for group in groups:
        spread = group.spread(split)
        if spread is not None:
            single = tuple(group.accuracies(split)) if spread.count > 1 else ()
            interval = group_interval(group, spread, split)
            dots.append(Dot(group.label, group.look, spread.mean, interval, percent(spread.mean), single))
    several = any(len(group.accuracies(split)) > 1 for group in groups)
    note = "Whiskers: 95\u00a0% interval, from the number of images."
    if several:
        note = (
            "Large dots: mean over seeds, small ones: each seed. Whiskers: 95\u00a0% interval of the mean over seeds; "
            "with one seed, from the number of images."
        )
    name = "mAP" if _is_multi_label(groups) else "Accuracy"
    return draw_dots(f"{name} on the {SPLIT_NAMES[split]} images", dots, write=whole_percent, note=note)


def _is_multi_label(groups: Sequence[Group]) -> bool:
    return any(group.runs[0].is_multi_label for group in groups)


def draw_validation(groups: Sequence[Group]) -> tuple[Chart, ...]:
    """Draw accuracy and loss on the validation images over epochs: thin a seed, thick their mean."""
    headline, name = ("map", "mAP") if _is_multi_label(groups) else ("accuracy", "accuracy")
    charts = (
        draw_curves(f"Validation {name}", _overlay(groups, headline), write=percent, write_tick=whole_percent),
        draw_curves("Validation loss", _overlay(groups, "loss"), write=decimal),
        draw_curves(
            "Agreement with the teacher", _overlay(groups, "agreement"), write=percent, write_tick=whole_percent
        ),
    )
    return tuple(chart for chart in charts if chart)


def _overlay(groups: Sequence[Group], figure: str) -> list[Series]:
    series = []
    for group in groups:
        curves = [points for run in group.runs if (points := run.log.by_epoch("val", figure))]
        if len(curves) > 1:
            series += [Series(group.label, group.look, points, is_faint=True) for points in curves]
        if curves:
            series.append(Series(group.label, group.look, _mean_curve(curves)))
    # Thin lines lie below thick ones.
    return sorted(series, key=lambda s: not s.is_faint)


def _mean_curve(curves: Sequence[Points]) -> Points:
    """Return the mean over the epochs that all curves have, or the only curve."""
    values: defaultdict[float, list[float]] = defaultdict(list)
    for points in curves:
        for x, y in points:
            values[x].append(y)
    return [(x, math.fsum(ys) / len(ys)) for x, ys in sorted(values.items()) if len(ys) == len(curves)]


def group_interval(group: Group, spread: Spread, split: str) -> Interval | None:
    """Return the 95 % interval of a group's accuracy: of the mean over seeds, or with one seed by the images."""
    if spread.interval is not None:
        return spread.interval
    if group.runs[0].is_multi_label:
        return next((accuracy_interval(run, split) for run in group.runs if run.score(split) is not None), None)
    images = next((n for run in group.runs if (n := run.figure("splits", split, "images"))), None)
    return wilson_interval(round(spread.mean * images), int(images)) if images else None


def _draw_teachers(groups: Sequence[Group], split: str) -> list[Dot]:
    """Return one dot for each teacher: runs that name the same source have the same."""
    found: dict[str, Dot] = {}
    for run in (run for group in groups for run in group.runs):
        accuracy, images = run.teacher_score(split), run.figure("splits", split, "images")
        if accuracy is not None and run.teacher_name not in found:
            interval = wilson_interval(round(accuracy * images), int(images)) if images else None
            interval = None if run.is_multi_label else interval
            found[str(run.teacher_name)] = Dot("teacher", "teacher", accuracy, interval, percent(accuracy))
    if len(found) == 1:
        return list(found.values())
    return [Dot(f"teacher {name}", d.look, d.value, d.interval, d.label) for name, d in found.items()]
