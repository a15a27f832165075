"""Puts runs that differ in their seed alone together, and names each group by what sets it apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dropkd.report.pairing import Difference, compare_runs
from dropkd.report.run_record import RunRecord
from dropkd.report.settings import differing_settings, setting_values
from dropkd.statistics.intervals import Spread, mean_and_spread

__all__ = ["INCIDENTAL", "Gain", "Group", "group_runs", "measure_gain"]

# Keys that change where or how fast a run is, not what it learns.
INCIDENTAL = frozenset(
    {"seed", "output", "device", "threads", "baseline", "loggers", "data.workers", "data.path", "teacher_check"}
)
# More than these do not fit a label.
_MOST_SETTINGS_NAMED = 2
# Orange is the teacher's, grey the plain run's.
_LOOKS = ("student", "hue3", "hue4", "hue6", "hue5", "hue2")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Args:
        label: a name that no other group has.
        look: its class in the style sheet.
        runs: in order of their seed.
    """

    label: str
    look: str
    runs: tuple[RunRecord, ...]

    @property
    def is_plain(self) -> bool:
        """Tell whether these students were trained alone."""
        return self.runs[0].method == "plain"

    def accuracies(self, split: str) -> list[float]:
        """Return the accuracy, or mAP, of each finished run."""
        found = (run.score(split) for run in self.runs)
        return [accuracy for accuracy in found if accuracy is not None]

    def spread(self, split: str) -> Spread | None:
        """Return mean and spread of the accuracy, or None where no run has one."""
        values = self.accuracies(split)
        return mean_and_spread(values) if values else None


@dataclass(frozen=True)
class Gain:
    """What a group has above the plain one: run by run where the seeds meet, and over the seeds.

    Args:
        single: the comparison of each run with the plain run of its seed, by folder.
        over_seeds: mean and spread of these differences.
    """

    single: dict[str, Difference]
    over_seeds: Spread | None


def group_runs(runs: Sequence[RunRecord]) -> list[Group]:
    """Return the groups in the order in which their first run was given, the plain one grey."""
    parts: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in runs:
        parts.setdefault(_identity(run), []).append(run)
    groups = list(parts.values())
    labels = _label_groups([group[0] for group in groups])
    # Grey for the first plain group; a further one (another student, say) takes a colour like any other.
    plain = next((k for k, group in enumerate(groups) if group[0].method == "plain"), None)
    looks = iter(_LOOKS * len(groups))
    return [
        Group(
            label,
            "alone" if k == plain else next(looks),
            tuple(sorted(group, key=lambda run: (run.seed is None, run.seed or 0))),
        )
        for k, (group, label) in enumerate(zip(groups, labels, strict=True))
    ]


def measure_gain(group: Group, plain_runs: Sequence[RunRecord], split: str) -> Gain:
    """Compare each run with the plain run of its student and seed: among those given, else in its own folder."""
    single = {}
    for run in () if group.is_plain else group.runs:
        reference = _find_reference(run, plain_runs)
        difference = compare_runs(run, reference, split) if reference else None
        if difference is not None:
            single[str(run.folder)] = difference
    values = [difference.value for difference in single.values()]
    return Gain(single, mean_and_spread(values) if values else None)


def _find_reference(run: RunRecord, plain_runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return the plain run with the same student and seed that shares the most settings."""
    alike = [other for other in plain_runs if (other.seed, other.student_name) == (run.seed, run.student_name)]
    mine = set(setting_values(run.config).items())
    return max(alike, key=lambda other: len(mine & set(setting_values(other.config).items())), default=run.baseline)


def _identity(run: RunRecord) -> tuple[object, ...]:
    values = setting_values(run.config)
    kept = tuple((key, value) for key, value in sorted(values.items()) if key not in INCIDENTAL)
    return (run.method, run.student_name, kept)


def _label_groups(firsts: Sequence[RunRecord]) -> list[str]:
    """Return the method's key, and where that does not tell groups apart what differs, else the folder's name."""
    labels = [run.method for run in firsts]
    for method in [name for name, times in Counter(labels).items() if times > 1]:
        places = [k for k, label in enumerate(labels) if label == method]
        for k, told in zip(places, _tell_apart([firsts[k] for k in places]), strict=True):
            labels[k] = f"{method}, {told}" if told else method
    times = Counter(labels)
    return [label if times[label] == 1 else f"{label} ({run.name})" for label, run in zip(labels, firsts, strict=True)]


def _tell_apart(runs: Sequence[RunRecord]) -> list[str]:
    """Return, in as few settings as do, what sets each run apart: the student before the method before the rest."""
    rows = [row for row in differing_settings([run.config for run in runs]) if row[0] not in INCIDENTAL]
    rows.sort(key=lambda row: (row[0] != "student.name", not row[0].startswith("method.")))
    told = [""] * len(runs)
    for key, values in rows[:_MOST_SETTINGS_NAMED]:
        if len(set(told)) == len(told):
            break
        short = "" if key == "student.name" else f"{key.rpartition('.')[2]} "
        told = [", ".join(filter(None, (before, short + value))) for before, value in zip(told, values, strict=True)]
    return told
