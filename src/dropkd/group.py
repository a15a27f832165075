"""A group of runs, opened: its students, what failed, and what the seeds say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropkd.engine.group_folder import GroupFolder
from dropkd.run import Run
from dropkd.statistics.intervals import Spread, mean_and_spread

__all__ = ["RunGroup", "Standing"]


@dataclass(frozen=True)
class Standing:
    """What the finished runs that differ in their seed alone have reached.

    Args:
        label: what they have in common, a student's name or that of a variant.
        runs: how many of them there are, finished or not.
        figure: ``accuracy``, or ``map`` where images have several labels.
        splits: mean and spread of the figure over the finished runs, for ``val`` and ``test`` where there are such.
    """

    label: str
    runs: int
    figure: str
    splits: Mapping[str, Spread]


@dataclass(frozen=True)
class RunGroup:
    """A group's folder, with an ordinary run folder for each run.

    Args:
        folder: where it is.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> RunGroup:
        """Open a group's folder.

        Raises:
            RunError: there is none, or its list of runs is damaged.
        """
        group = cls(Path(folder))
        group.on_disk()
        return group

    def on_disk(self) -> GroupFolder:
        """Return what the folder says of its runs now."""
        return GroupFolder.open(self.folder)

    @property
    def runs(self) -> dict[str, Run]:
        """The finished runs by their names."""
        group = self.on_disk()
        return {m.name: Run(group.folder_of(m)) for m in group.members if group.is_finished(m)}

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed when they were last tried, by their names."""
        group = self.on_disk()
        found = ((member.name, group.failure_of(member)) for member in group.members)
        return {name: reason for name, reason in found if reason is not None}

    @property
    def is_finished(self) -> bool:
        """Whether all runs came to their end."""
        return not self.on_disk().unfinished

    def summary(self) -> list[Standing]:
        """Return mean and standard deviation over seeds of each student, or variant, in their order."""
        group, runs = self.on_disk(), self.runs
        members: dict[str, list[str]] = {}
        for member in group.members:
            members.setdefault(member.label, []).append(member.name)
        metrics = {name: run.metrics for name, run in runs.items()}
        return [
            _summarize(label, names, [metrics[name] for name in names if name in metrics])
            for label, names in members.items()
        ]


def _summarize(label: str, names: list[str], finished: list[dict[str, Any]]) -> Standing:
    figure = "map" if any(metrics.get("multi_label") for metrics in finished) else "accuracy"
    values: dict[str, list[float]] = {}
    for metrics in finished:
        for split, scores in metrics["splits"].items():
            if scores.get(figure) is not None:
                values.setdefault(split, []).append(scores[figure])
    return Standing(label, len(names), figure, {split: mean_and_spread(found) for split, found in values.items()})
