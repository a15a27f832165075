"""Accuracy against cost for all runs of a comparison: who gives the most for the least."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dropkd.costing.record import CostRecord
from dropkd.report.charts import Chart
from dropkd.report.comparison_charts import group_interval
from dropkd.report.cost import read_cost, write_milliseconds, write_size
from dropkd.report.groups import Group
from dropkd.report.run_record import RunRecord
from dropkd.report.scatter import Place, draw_scatter, find_front
from dropkd.report.summary import SPLIT_NAMES
from dropkd.report.wording import count, join_words, percent, plural, whole_percent
from dropkd.statistics.intervals import wilson_interval

__all__ = ["TradeOff", "TradeRow", "weigh_costs"]

_NOTHING = "\u2013"
_MOST_NAMED = 5
_BUSY = (
    "The machine was busy with other things, which makes times longer, and long ones more so than short ones: measure "
    "again when it is idle."
)


class _Setting(NamedTuple):
    """How a time was taken."""

    runtime: str
    file: str | None
    threads: int
    batch: int
    machine: str

    @property
    def words(self) -> str:
        """Return it as a few words, without the machine."""
        named = f" ({self.file})" if self.file not in (None, "student.onnx") else ""
        return f"{self.runtime}{named}, {plural(self.batch, 'image')}, {plural(self.threads, 'thread')}"


@dataclass(frozen=True)
class TradeRow:
    """A way of training or a teacher: its accuracy and its costs."""

    number: int
    name: str
    look: str
    accuracy: str
    parameters: str
    macs: str
    latency: str
    is_best: bool


@dataclass(frozen=True)
class TradeOff:
    """What the section says.

    Args:
        charts: accuracy against multiply-adds, and against latency where that was measured.
        rows: the same as a table.
        latency_name: what the latency is of; empty where none was measured.
        notes: what to bear in mind.
        command: what would measure the latency of those that lack it, or empty.
    """

    charts: tuple[Chart, ...]
    rows: tuple[TradeRow, ...]
    latency_name: str
    notes: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class _Contender:
    """A group or a teacher, with each of its runs."""

    name: str
    look: str
    score: float
    interval: tuple[float, float] | None
    parameters: float | None
    points: tuple[tuple[float | None, float | None, float], ...]
    number: int = 0

    def place(self, axis: int) -> Place | None:
        """Return its point with multiply-adds (0) or latency (1) across, or None where that is not known."""
        known = [(cost, point[2]) for point in self.points if (cost := point[axis]) is not None]
        if not known:
            return None
        single = tuple(known) if len(known) > 1 else ()
        return Place(
            self.name, self.look, statistics.median(x for x, _ in known), self.score, self.interval, single, self.number
        )


def weigh_costs(groups: Sequence[Group], split: str) -> TradeOff | None:
    """Return accuracy against cost, or None where no run says what it costs or none has finished."""
    records = {str(run.folder): read_cost(run)[0] for group in groups for run in group.runs}
    setting = _choose_setting(records)
    contenders = [*_find_teachers(groups, split, records, setting), *_find_groups(groups, split, records, setting)]
    if not any(point[0] for contender in contenders for point in contender.points):
        return None
    name = "mAP" if groups[0].runs[0].is_multi_label else "Accuracy"
    latency_name = "" if setting is None else setting.words
    numbered = [replace(contender, number=k) for k, contender in enumerate(contenders, 1)]
    axes: list[tuple[int, str, str, Callable[[float], str], Callable[[float], str]]] = [
        (0, "multiply-adds", "multiply-adds of one image", write_size, _write_size_tick),
        (1, "time", f"median time: {latency_name}", write_milliseconds, _write_time_tick),
    ]
    charts = []
    for axis, against, x_name, write, write_tick in axes:
        title = f"{name} on the {SPLIT_NAMES[split]} images against {against}"
        places = [place for contender in numbered if (place := contender.place(axis)) is not None]
        chart = draw_scatter(
            title, places, x_name=x_name, write_x=write, write_x_tick=write_tick, write_y=percent,
            write_y_tick=whole_percent,
        )  # fmt: skip
        charts += [chart] if chart else []
    best = _name_best(contenders)
    runs = [run for group in groups for run in group.runs if run.score(split) is not None]
    lacking = [run for run in runs if _find_time(records[str(run.folder)], "student", setting) is None]
    return TradeOff(
        tuple(charts),
        tuple(_write_row(contender, contender.name in best) for contender in numbered),
        latency_name,
        tuple(_find_notes(records, setting, lacking)),
        _write_command(runs) if lacking else "",
    )


def _write_command(runs: Sequence[RunRecord]) -> str:
    """Return the command that times runs side by side; of very many it leaves their names to the reader."""
    if len(runs) > _MOST_NAMED:
        return "dropkd cost RUN..."
    return shlex.join(["dropkd", "cost", *(str(run.folder) for run in runs)])


def _find_groups(
    groups: Sequence[Group], split: str, records: Mapping[str, CostRecord | None], setting: _Setting | None
) -> list[_Contender]:
    found = []
    for group in groups:
        spread = group.spread(split)
        if spread is None:
            continue
        points = []
        for run in group.runs:
            record, score = records[str(run.folder)], run.score(split)
            if score is not None:
                points.append((_find_macs(run, record, "student"), _find_time(record, "student", setting), score))
        parameters = group.runs[0].figure("student", "parameters")
        interval = group_interval(group, spread, split)
        found.append(_Contender(group.label, group.look, spread.mean, interval, parameters, tuple(points)))
    return found


def _find_teachers(
    groups: Sequence[Group], split: str, records: Mapping[str, CostRecord | None], setting: _Setting | None
) -> list[_Contender]:
    """Return one for each teacher: runs that name the same source have the same."""
    found: dict[str, _Contender] = {}
    for run in (run for group in groups for run in group.runs):
        score, images = run.teacher_score(split), run.figure("splits", split, "images")
        seconds = _find_time(records[str(run.folder)], "teacher", setting)
        known = found.get(str(run.teacher_name))
        # Not each of its runs need have been timed.
        if score is None or (known is not None and (known.points[0][1] is not None or seconds is None)):
            continue
        interval = wilson_interval(round(score * images), int(images)) if images and not run.is_multi_label else None
        point = (_find_macs(run, records[str(run.folder)], "teacher"), seconds, score)
        parameters = run.figure("teacher", "parameters")
        found[str(run.teacher_name)] = _Contender("teacher", "teacher", score, interval, parameters, (point,))
    if len(found) == 1:
        return list(found.values())
    return [replace(contender, name=f"teacher {name}") for name, contender in found.items()]


def _find_macs(run: RunRecord, record: CostRecord | None, role: str) -> float | None:
    """Return multiply-adds as the run says them, or as they were measured where the run is older than that."""
    network = record.of_role(role) if record else None
    found = run.figure(role, "macs")
    return found if found is not None or network is None else network.macs


def _find_time(record: CostRecord | None, role: str, setting: _Setting | None) -> float | None:
    network = record.of_role(role) if record else None
    if record is None or network is None or setting is None or setting.machine != _name_machine(record):
        return None
    timing = network.find_timing(setting.runtime, setting.batch, setting.threads, setting.file)
    return None if timing is None else timing.latency.p50


def _choose_setting(records: Mapping[str, CostRecord | None]) -> _Setting | None:
    """Return the machine and the settings that most runs were timed with, of equals those nearest to one image."""
    times: Counter[_Setting] = Counter()
    for record in records.values():
        student = record.of_role("student") if record else None
        if record is None or student is None:
            continue
        machine = _name_machine(record)
        times.update({_Setting(t.runtime, t.file, t.threads, t.batch, machine) for t in student.timings})
    order: Callable[[_Setting], tuple[object, ...]] = lambda s: (  # noqa: E731
        -times[s], s.batch, s.threads, s.runtime != "torch", str(s.file), s.machine,
    )  # fmt: skip
    return min(times, key=order, default=None)


def _name_machine(record: CostRecord) -> str:
    machine = record.machine
    device = "" if machine.get("device") in (None, "cpu") else f", {machine['device']}"
    return f"{machine.get('processor', 'unknown processor')}, {plural(int(machine.get('cores', 1)), 'core')}{device}"


def _write_row(contender: _Contender, is_best: bool) -> TradeRow:
    macs, latency = contender.place(0), contender.place(1)
    return TradeRow(
        contender.number,
        contender.name,
        contender.look,
        percent(contender.score),
        count(contender.parameters),
        _NOTHING if macs is None else write_size(macs.x),
        _NOTHING if latency is None else write_milliseconds(latency.x),
        is_best,
    )


def _write_size_tick(number: float) -> str:
    power, sign = next(((p, s) for p, s in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= p), (1.0, ""))
    return f"{number / power:g}\u00a0{sign}".rstrip()


def _write_time_tick(seconds: float) -> str:
    return f"{1000 * seconds:g}\u00a0ms"


def _name_best(contenders: Sequence[_Contender]) -> set[str]:
    places = [place for contender in contenders if (place := contender.place(0)) is not None]
    return {places[k].name for k in find_front(places)}


def _find_notes(
    records: Mapping[str, CostRecord | None], setting: _Setting | None, lacking: Sequence[RunRecord]
) -> list[str]:
    if setting is None:
        return []
    notes = [f"Timed on {setting.machine}."]
    used = [record for record in records.values() if record is not None and _name_machine(record) == setting.machine]
    if len({record.machine.get("measured") for record in used}) > 1:
        notes.append(
            "Not all of them were timed in one go, so what the machine did meanwhile may count: times of one command "
            "can be compared more surely."
        )
    if any(record.was_busy for record in used):
        notes.append(_BUSY)
    if lacking:
        names = join_words([run.name for run in lacking[:_MOST_NAMED]])
        more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
        verb = "was" if len(lacking) == 1 else "were"
        notes.append(f"{names}{more} {verb} not timed in this way.")
    return notes
