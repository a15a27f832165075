"""The tables of a comparison: one row a run, and one row a group where there are several seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dropkd.report.groups import Gain, Group
from dropkd.report.pairing import Difference, accuracy_interval
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import (
    count,
    duration,
    interval_of_percents,
    interval_of_points,
    p_value,
    percent,
    points,
)
from dropkd.statistics.intervals import Spread

__all__ = ["Cell", "GroupRow", "RunRow", "tabulate_groups", "tabulate_runs"]

_NOTHING = "\u2013"


@dataclass(frozen=True)
class Cell:
    """A figure and, smaller, its interval."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class GroupRow:
    """One group: its runs, mean and spread on both splits, and what it has above the plain group."""

    label: str
    look: str
    runs: str
    main: Cell
    validation: Cell
    gain: Cell


@dataclass(frozen=True)
class RunRow:
    """One run: who it is, its figures, what it has above the plain run of its seed, and its time (in seconds too)."""

    label: str
    look: str
    folder: str
    link: str
    seed: str
    parameters: str
    epoch: str
    validation: str
    main: Cell
    gain: Cell
    time: str
    seconds: str
    status: str


def tabulate_groups(groups: Sequence[Group], gains: Sequence[Gain], split: str) -> list[GroupRow]:
    """Return a row a group, or nothing where each group is a single run."""
    if all(len(group.runs) == 1 for group in groups):
        return []
    return [
        GroupRow(
            group.label,
            group.look,
            _list_seeds(group),
            _spread_cell(group.spread(split)),
            _spread_cell(group.spread("val")),
            _gain_cell(gain.over_seeds),
        )
        for group, gain in zip(groups, gains, strict=True)
    ]


def tabulate_runs(groups: Sequence[Group], gains: Sequence[Gain], split: str, output: Path) -> list[RunRow]:
    """Return a row a run, group by group; a run with a page of its own is linked."""
    return [
        _describe_run(group, run, gain.single.get(str(run.folder)), split, output)
        for group, gain in zip(groups, gains, strict=True)
        for run in group.runs
    ]


def _describe_run(group: Group, run: RunRecord, gain: Difference | None, split: str, output: Path) -> RunRow:
    accuracy = run.score(split)
    selected = run.figure("selected", "epoch")
    return RunRow(
        label=group.label,
        look=group.look,
        folder=run.name,
        link=_link(run, output),
        seed=_NOTHING if run.seed is None else str(run.seed),
        parameters=count(run.figure("student", "parameters")),
        epoch=_NOTHING if selected is None else str(int(selected) + 1),
        validation=percent(run.score("val")),
        main=Cell(percent(accuracy), _small_print(run, split)),
        gain=_difference_cell(gain) if gain else Cell(""),
        time=duration(run.figure("seconds")),
        seconds="" if run.figure("seconds") is None else str(run.figure("seconds")),
        status=run.status,
    )


def _small_print(run: RunRecord, split: str) -> str:
    """Return the interval of the accuracy, and where classes are uneven their mean recall as well."""
    interval, uar = accuracy_interval(run, split), run.figure("splits", split, "uar")
    parts = [interval_of_percents(interval)] if interval else []
    if uar is not None and run.metrics.get("imbalanced"):
        parts.append(f"UAR {percent(uar)}")
    return ", ".join(parts)


def _link(run: RunRecord, output: Path) -> str:
    """Return the way from the page to the run's own, or an empty text where there is none."""
    page = run.folder / "report.html"
    if not page.is_file():
        return ""
    try:
        return quote(Path(os.path.relpath(page, output.resolve().parent)).as_posix())
    except ValueError:  # another drive
        return ""


def _list_seeds(group: Group) -> str:
    seeds = [str(run.seed) for run in group.runs if run.seed is not None]
    return (
        f"{len(group.runs)} (seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)})"
        if seeds
        else str(len(group.runs))
    )


def _spread_cell(spread: Spread | None) -> Cell:
    if spread is None:
        return Cell(_NOTHING)
    return Cell(percent(spread.mean), "" if spread.deviation is None else f"\u00b1 {100 * spread.deviation:.1f}")


def _gain_cell(spread: Spread | None) -> Cell:
    if spread is None:
        return Cell("")
    return Cell(points(spread.mean), "" if spread.interval is None else interval_of_points(spread.interval))


def _difference_cell(difference: Difference) -> Cell:
    small = interval_of_points(difference.interval)
    if difference.paired:
        small += f", {p_value(difference.paired.p_value)}"
    return Cell(points(difference.value), small)
