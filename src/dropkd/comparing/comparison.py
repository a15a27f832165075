"""Runs put together by what they differ in beside the seed, and each compared with one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dropkd.comparing.answers import Sample, choose_figure, choose_split, sample_runs
from dropkd.errors import ConfigError, RunError, did_you_mean
from dropkd.report.groups import Group, group_runs
from dropkd.report.run_groups import list_run_folders
from dropkd.report.run_record import read_run
from dropkd.statistics.arrays import Interval
from dropkd.statistics.intervals import Spread, interval_of, mean_and_spread
from dropkd.statistics.pairs import compare_paired
from dropkd.statistics.significance import bootstrap_p_value, holm, t_test_p_value, welch_test

__all__ = ["Comparison", "Contender", "Difference", "compare"]

# The usual bar for calling a difference seen.
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How much higher a contender's figure is than the reference's.

    Args:
        value: mean over the seeds that both have; over all of each where they share none.
        seeds: how many seeds both have.
        by_images: 95 % interval, by images drawn for both alike.
        by_seeds: 95 % interval, Student's over the seeds that both have; Welch's where they share none. None with
            fewer than two seeds.
        p_images: that the images alone make such a difference: the paired bootstrap's, McNemar's exact one for the
            accuracy of a single seed.
        p_seeds: that the seeds alone do, by the t-test of the same; None with fewer than two.
        gained: images that the contender alone has right, a mean over the seeds.
        lost: images that the reference alone has right.
        p_value: the larger of the two: a difference counts only where neither explains it.
        p_corrected: by Holm, for all contenders.
        lower_is_better: of the figure.
    """

    value: float
    seeds: int
    by_images: Interval
    by_seeds: Interval | None
    p_images: float
    p_seeds: float | None
    gained: float
    lost: float
    p_value: float
    p_corrected: float
    lower_is_better: bool

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no difference seen``."""
        if self.p_corrected > _LEVEL or self.value == 0:
            return "no difference seen"
        return "better" if (self.value < 0) == self.lower_is_better else "worse"


@dataclass(frozen=True)
class Contender:
    """Runs that differ in their seed alone.

    Args:
        label: a name that no other has.
        seeds: of its runs.
        folders: of its runs.
        parameters: of the student; None where the runs do not say.
        figure: mean, deviation and interval over the seeds.
        by_images: 95 % interval of the mean, by images drawn for all seeds alike.
        difference: from the reference; None for the reference itself.
    """

    label: str
    seeds: tuple[int | None, ...]
    folders: tuple[str, ...]
    parameters: int | None
    figure: Spread
    by_images: Interval
    difference: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Several ways of training, judged by the same images.

    Args:
        split: which images.
        images: how many.
        figure: ``accuracy``, ``uar``, ``macro_f1``, ``loss``, ``map`` or ``exact_match``.
        reference: label of the contender that the others are compared with.
        contenders: in the order in which their first run was given, the reference first.
    """

    split: str
    images: int
    figure: str
    reference: str
    contenders: tuple[Contender, ...]

    @property
    def is_share(self) -> bool:
        """Whether the figure is a fraction, shown as a percentage."""
        return self.figure != "loss"


def compare(
    runs: Sequence[str | Path],
    *,
    reference: str | None = None,
    split: str | None = None,
    figure: str | None = None,
) -> Comparison:
    """Compare runs on the images that all of them were judged by.

    Runs that differ in their seed alone are one contender. Where a run has a ``baseline`` and no plain run is given,
    the baselines take part.

    Args:
        runs: folders of finished runs, or of groups of them; two contenders or more.
        reference: label or folder of the contender that the others are compared with; by default the plain one, else
            the first.
        split: ``test`` or ``val``; by default test where all have it.
        figure: ``accuracy``, ``uar``, ``macro_f1`` or ``loss``; ``map`` or ``exact_match`` where images have several
            labels. By default the first.

    Raises:
        RunError: no run folder, an unfinished run, fewer than two contenders, or runs judged by other images.
        ConfigError: no such figure, or no such reference.
    """
    folders = [folder for run in runs for folder in list_run_folders(Path(run).resolve())]
    records = [read_run(folder) for folder in dict.fromkeys(folders)]
    if not any(record.method == "plain" for record in records):
        records += [record.baseline for record in records if record.baseline is not None]
    if not records:
        raise RunError("There is nothing to compare: name the folders of two runs or more.")
    chosen_figure, chosen_split = choose_figure(records, figure), choose_split(records, split)
    groups = group_runs(records)
    if len(groups) < 2:
        raise RunError(
            f"These runs differ in their seed alone ({groups[0].label}), so there is nothing to compare: name runs of "
            "another method, student or setting too."
        )
    groups = _put_first(groups, reference)
    ordered = [run for group in groups for run in group.runs]
    samples = iter(sample_runs(ordered, chosen_split, chosen_figure))
    sampled = [[next(samples) for _ in group.runs] for group in groups]
    contenders = [_describe(group, own) for group, own in zip(groups, sampled, strict=True)]
    differences = [_subtract(own, sampled[0], chosen_figure) for own in sampled[1:]]
    corrected = holm([difference.p_value for difference in differences])
    judged = [replace(d, p_corrected=p) for d, p in zip(differences, corrected, strict=True)]
    return Comparison(
        chosen_split,
        len(sampled[0][0].right),
        chosen_figure,
        groups[0].label,
        (contenders[0], *(replace(c, difference=d) for c, d in zip(contenders[1:], judged, strict=True))),
    )


def _put_first(groups: Sequence[Group], reference: str | None) -> list[Group]:
    if reference is None:
        chosen = next((group for group in groups if group.is_plain), groups[0])
    else:
        named = {group.label: group for group in groups}
        folders = {str(run.folder.resolve()): group for group in groups for run in group.runs}
        found = named.get(reference) or folders.get(str(Path(reference).resolve()))
        if found is None:
            raise ConfigError(
                f"There is no {reference!r} among what is compared: {', '.join(map(repr, named))}."
                f"{did_you_mean(reference, tuple(named))}"
            )
        chosen = found
    return [chosen, *(group for group in groups if group is not chosen)]


def _describe(group: Group, samples: Sequence[Sample]) -> Contender:
    values = [sample.value for sample in samples]
    drawn = np.mean([sample.draws for sample in samples], axis=0)
    parameters = group.runs[0].figure("student", "parameters")
    return Contender(
        group.label,
        tuple(run.seed for run in group.runs),
        tuple(str(run.folder) for run in group.runs),
        None if parameters is None else int(parameters),
        mean_and_spread(values),
        interval_of(float(np.mean(values)), drawn),
        None,
    )


def _subtract(samples: Sequence[Sample], reference: Sequence[Sample], figure: str) -> Difference:
    by_seed = {sample.run.seed: sample for sample in reference}
    pairs = [(sample, by_seed[sample.run.seed]) for sample in samples if sample.run.seed in by_seed]
    shared = len(pairs)
    # Without a seed in common each is compared with each, and nothing is paired but the images.
    pairs = pairs or [(sample, other) for sample in samples for other in reference]
    values = [first.value - second.value for first, second in pairs]
    value, drawn = float(np.mean(values)), np.mean([a.draws - b.draws for a, b in pairs], axis=0)
    beside = [compare_paired(first.right, second.right) for first, second in pairs]
    is_single = len(pairs) == 1 and figure in ("accuracy", "exact_match")
    p_images = beside[0].p_value if is_single else bootstrap_p_value(drawn)
    by_seeds, p_seeds = mean_and_spread(values).interval, t_test_p_value(values)
    if not shared:
        unpaired = welch_test([sample.value for sample in samples], [other.value for other in reference])
        by_seeds, p_seeds = unpaired or (None, None)
    p_value = max(p_images, p_seeds or 0.0)
    return Difference(
        value, shared, interval_of(value, drawn), by_seeds, p_images, p_seeds,
        float(np.mean([b.gained for b in beside])), float(np.mean([b.lost for b in beside])), p_value, p_value,
        figure == "loss",
    )  # fmt: skip
