"""Limits of memory that the operating system sets: a control group where one can be made, else RLIMIT_DATA."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Limit", "forget_pages", "make_limit"]

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limit:
    """A limit that a process puts on itself before it becomes another program.

    Args:
        name: what sets it.
        shell: what a shell does for that, before ``exec``.
        group: the control group's folder, None without one.
        counters: what of the group's files is told, by name.
    """

    name: str
    shell: Sequence[str]
    group: Path | None = None
    counters: Mapping[str, str] = field(default_factory=dict)

    def read_usage(self) -> dict[str, int]:
        """Return what the group counted: the peak, files' pages among it, and how often the limit was met."""
        found = {}
        for name, file in self.counters.items():
            with suppress(OSError, ValueError, StopIteration):
                found[name] = self._read(file)
        return found

    def _read(self, file: str) -> int:
        name, _, key = file.partition(":")
        text = (self.group or Path()).joinpath(name).read_text(encoding="utf-8")
        if not key:
            return int(text)
        return int(next(line for line in text.splitlines() if line.startswith(key)).split()[-1])

    def remove(self) -> None:
        """Take the group away; its processes have ended."""
        if self.group is not None:
            self.group.rmdir()


def make_limit(limit_bytes: int) -> Limit:
    """Return a limit of so many bytes, the strictest kind that can be had here."""
    makers: Sequence[Callable[[int], Limit]] = (_make_group_v2, _make_group_v1)
    for make in makers:
        with suppress(OSError, StopIteration):
            return make(limit_bytes)
    return Limit("RLIMIT_DATA (no control group can be made here)", [f"ulimit -d {limit_bytes // 1024};"])


def forget_pages(folder: Path) -> None:
    """Write a folder's files out and let go of them in memory."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as content:
                os.fsync(content.fileno())
                os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _own_group(controller: str) -> Path:
    """Return where this process stands among the groups of a controller; empty for version 2."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else not controllers:
            return _ROOT / controller / path.lstrip("/")
    raise StopIteration


def _make_group_v1(limit_bytes: int) -> Limit:
    group = _make_group(_own_group("memory"), "memory.limit_in_bytes", limit_bytes)
    counters = {
        "peak_bytes": "memory.max_usage_in_bytes",
        "met_the_limit": "memory.failcnt",
        "not_of_files_at_the_end_bytes": "memory.stat:rss ",
    }
    return Limit("the memory control group (version 1)", [f'echo $$ > "{group}/cgroup.procs";'], group, counters)


def _make_group_v2(limit_bytes: int) -> Limit:
    group = _make_group(_own_group(""), "memory.max", limit_bytes)
    counters = {"peak_bytes": "memory.peak", "met_the_limit": "memory.events:max "}
    return Limit("the memory control group (version 2)", [f'echo $$ > "{group}/cgroup.procs";'], group, counters)


def _make_group(parent: Path, file: str, limit_bytes: int) -> Path:
    """Return a new group with a limit.

    Raises:
        OSError: groups can't be made there, or have no such limit.
    """
    group = parent / f"dropkd-limit-{os.getpid()}"
    group.mkdir()
    try:
        if not (group / file).is_file():
            raise FileNotFoundError(file)
        (group / file).write_text(str(limit_bytes), encoding="utf-8")
        # What could be swapped out would not be limited.
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0", encoding="utf-8")
    except OSError:
        group.rmdir()
        raise
    return group
