"""What a run's student costs beside its teacher: counted always, timed where that was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dropkd.costing.record import FILE, CostRecord, NetworkCost, Timing, read_record
from dropkd.files import say_bytes
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import count, plural, rough_percent

__all__ = ["CostRow", "CostSection", "TimeRow", "describe_cost", "read_cost", "write_milliseconds", "write_size"]

_NOTHING = "\u2013"


@dataclass(frozen=True)
class CostRow:
    """A size of the student, of its teacher, and the one as a share of the other."""

    name: str
    student: str
    teacher: str
    ratio: str


@dataclass(frozen=True)
class TimeRow:
    """Times of one runtime, number of threads and batch size: of the student, of its teacher, their ratio, memory."""

    runtime: str
    setting: str
    student: tuple[str, str]
    teacher: tuple[str, str]
    ratio: str
    memory: str


@dataclass(frozen=True)
class CostSection:
    """What the section says.

    Args:
        words: sentences.
        sizes: what is counted.
        has_teacher: whether anything is known of a teacher.
        times: what was timed; empty where it was not.
        machine: what it was timed on.
        command: what times it.
        notes: what could not be measured.
    """

    words: tuple[str, ...]
    sizes: tuple[CostRow, ...]
    has_teacher: bool
    times: tuple[TimeRow, ...]
    machine: str
    command: str
    notes: tuple[str, ...]


def read_cost(run: RunRecord) -> tuple[CostRecord | None, str]:
    """Return what was measured of a run, or None and what is wrong with it (empty where it was not measured)."""
    try:
        record = read_record(run.folder)
    except ValueError as error:
        return None, str(error)
    if record is None:
        return None, ""
    student, known = record.of_role("student"), run.figure("student", "parameters")
    if student is None or (known is not None and student.parameters != known):
        return None, f"{FILE} is of another student than this run's: measure again with `dropkd cost {run.folder}`."
    return record, ""


def describe_cost(run: RunRecord) -> CostSection | None:
    """Return the section of a run's page, or None where nothing is known."""
    record, _ = read_cost(run)
    student = record.of_role("student") if record else None
    teacher = record.of_role("teacher") if record else None
    sizes = _list_sizes(run, student, teacher)
    if not sizes:
        return None
    timed = [_describe_times(student, teacher, timing) for timing in student.timings] if student else []
    return CostSection(
        words=tuple(_say(run, student, teacher)),
        sizes=tuple(sizes),
        has_teacher=any(row.teacher != _NOTHING for row in sizes) or bool(teacher and timed),
        times=tuple(timed),
        machine=_describe_machine(record) if record else "",
        command=shlex.join(["dropkd", "cost", str(run.folder)]),
        notes=tuple(f"{network.name}: {note}" for network in record for note in network.notes) if record else (),
    )


def write_milliseconds(seconds: float) -> str:
    """Write a time to three digits, e.g. ``0.927 ms``, ``62.7 ms``, ``1,234 ms``."""
    value = 1000 * seconds
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}\u00a0ms"


def write_size(number: float) -> str:
    """Write a large count to three digits, e.g. ``12.5 M``, ``1.81 G``, ``950``."""
    for power, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:#.3g}".rstrip(".") + f"\u00a0{sign}"
    return f"{number:.0f}"


def _find_size(run: RunRecord, network: NetworkCost | None, role: str, key: str) -> float | None:
    """Return a size as the run says it, or as it was measured where the run is older than that."""
    measured: float | None = getattr(network, key, None)
    found = run.figure(role, key)
    return measured if found is None else found


def _list_sizes(run: RunRecord, student: NetworkCost | None, teacher: NetworkCost | None) -> list[CostRow]:
    rows = []
    for name, key, write in (
        ("Parameters", "parameters", count),
        ("Multiply-adds of one image", "macs", write_size),
        ("Weights in memory", "bytes", say_bytes),
    ):
        own, theirs = _find_size(run, student, "student", key), _find_size(run, teacher, "teacher", key)
        if own is not None:
            ratio = _write_ratio(own / theirs) if theirs else ""
            rows.append(CostRow(name, write(own), write(theirs) if theirs else _NOTHING, ratio))
    files = [path for path in sorted(run.folder.glob("student*")) if path.is_file()]
    named = [(path.name, path.stat().st_size) for path in files if path.suffix not in (".json", ".py", ".part")]
    # Files alone say nothing that the run folder does not.
    return [*rows, *(CostRow(f"File {name}", say_bytes(size), _NOTHING, "") for name, size in named)] if rows else []


def _write_ratio(ratio: float, of: str = "") -> str:
    """Write a share as a percentage, and what is more than the whole as ``1.6 times``."""
    return f"{rough_percent(ratio)}{of}" if ratio < 1.005 else f"{ratio:.1f}\u00a0times"


def _say(run: RunRecord, student: NetworkCost | None, teacher: NetworkCost | None) -> list[str]:
    words = []
    macs, theirs = _find_size(run, student, "student", "macs"), _find_size(run, teacher, "teacher", "macs")
    if macs and theirs:
        share = _write_ratio(macs / theirs, " of")
        words.append(f"One image takes {write_size(macs)} multiply-adds, {share} its teacher\u2019s.")
    timing, other = _find_pair(student, teacher)
    if timing is not None:
        how = f"{timing.runtime}, {plural(timing.threads, 'thread')}"
        said = f"A batch of {plural(timing.batch, 'image')} takes it {write_milliseconds(timing.latency.p50)} ({how})"
        if other is not None and timing.latency.is_sure and other.latency.is_sure:
            ratio = other.latency.p50 / timing.latency.p50
            word = f"{ratio:.1f} times as fast as its teacher"
            said += f", {word}" if ratio >= 1 else f", {1 / ratio:.1f} times slower than its teacher"
        elif other is not None:
            said += "; how that compares with its teacher was not measured surely enough to be said"
        words.append(said + ".")
    return words


def _find_pair(student: NetworkCost | None, teacher: NetworkCost | None) -> tuple[Timing | None, Timing | None]:
    """Return the first timing that both have, or the student's first."""
    if student is None or not student.timings:
        return None, None
    for timing in student.timings:
        other = teacher.find_timing(timing.runtime, timing.batch, timing.threads, timing.file) if teacher else None
        if other is not None:
            return timing, other
    return student.timings[0], None


def _describe_times(student: NetworkCost, teacher: NetworkCost | None, timing: Timing) -> TimeRow:
    other = teacher.find_timing(timing.runtime, timing.batch, timing.threads, timing.file) if teacher else None
    memory = student.find_memory(timing)
    named = f", {timing.file}" if timing.file not in (None, "student.onnx") else ""
    return TimeRow(
        f"{timing.runtime}{named}",
        f"{plural(timing.threads, 'thread')}, {plural(timing.batch, 'image')}",
        _write_latency(timing),
        _write_latency(other) if other else (_NOTHING, ""),
        _write_speed(timing, other),
        _NOTHING if memory is None else say_bytes(memory.peak - memory.libraries),
    )


def _write_speed(timing: Timing, other: Timing | None) -> str:
    """Write how many times as fast the student is; with a mark where one of the medians is not known to 10 %."""
    if other is None:
        return ""
    sure = timing.latency.is_sure and other.latency.is_sure
    return f"{'' if sure else '~'}{other.latency.p50 / timing.latency.p50:.1f}\u00a0times"


def _write_latency(timing: Timing) -> tuple[str, str]:
    return write_milliseconds(timing.latency.p50), f"p95 {write_milliseconds(timing.latency.p95)}"


def _describe_machine(record: CostRecord) -> str:
    machine = record.machine
    versions = machine.get("versions") or {}
    parts: Sequence[str] = (
        f"{machine.get('processor', 'unknown processor')}, {plural(int(machine.get('cores', 1)), 'core')}",
        "" if machine.get("device") in (None, "cpu") else f"computed on {machine['device']}",
        ", ".join(f"{name} {versions[name]}" for name in ("torch", "onnxruntime") if name in versions),
        f"measured {_write_time(machine.get('measured'))}",
        "the machine was busy with other things, which makes times longer" if record.was_busy else "",
    )
    return "; ".join(part for part in parts if part)


def _write_time(stamp: object) -> str:
    """Write a point in time to the minute."""
    try:
        return f"{datetime.fromisoformat(str(stamp)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return "at an unknown time"
