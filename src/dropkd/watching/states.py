"""What a run can be at, found from its files and from whether a process holds its log."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropkd.report.wording import duration

__all__ = ["State", "find_state", "say_state"]


class State(enum.StrEnum):
    """Where a run is."""

    WAITING = "waiting"
    PREPARING = "preparing"
    BASELINE = "baseline"
    RUNNING = "running"
    JUDGING = "judging"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def goes_on(self) -> bool:
        """Whether something is being done, as far as can be told."""
        return self in (State.PREPARING, State.BASELINE, State.RUNNING, State.JUDGING)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes the run."""
        return self in (State.FINISHED, State.INTERRUPTED, State.FAILED, State.STOPPED)


@dataclass(frozen=True)
class Signs:
    """What a state is found from.

    Args:
        has_config: whether there is a ``config.yaml``.
        has_log: whether there is a ``metrics.jsonl``.
        is_held: whether a process holds it; None where that can't be told.
        events: what it says.
        status: that of ``metrics.json``, empty without one.
        status_is_newer: whether ``metrics.json`` was written after the last line of the log.
        baseline: the state of the run within this one, None without one.
        all_steps_done: whether the log's last step is the last of all.
    """

    has_config: bool
    has_log: bool
    is_held: bool | None
    events: Sequence[Mapping[str, Any]]
    status: str
    status_is_newer: bool
    baseline: State | None
    all_steps_done: bool


def find_state(signs: Signs) -> State:
    """Return what a run is at."""
    last = str(signs.events[-1].get("event")) if signs.events else ""
    if signs.is_held:
        begun = any(event.get("event") == "step" for event in signs.events)
        if last == "stop" or (signs.all_steps_done and last in ("epoch", "relabel", "warning")):
            return State.JUDGING
        return State.RUNNING if begun else State.PREPARING
    if not signs.has_log:
        return _find_before_log(signs)
    if last == "end" or (signs.status == "finished" and signs.status_is_newer):
        return State.FINISHED
    if last == "failure":
        return State.FAILED
    if signs.status == "interrupted" and signs.status_is_newer:
        return State.INTERRUPTED
    # Where locks are unknown, a log that has no end may well be growing.
    return State.STOPPED if signs.is_held is False else State.RUNNING


def _find_before_log(signs: Signs) -> State:
    if signs.baseline in (State.BASELINE, State.RUNNING, State.JUDGING, State.PREPARING):
        return State.BASELINE
    if signs.status == "interrupted":
        return State.INTERRUPTED
    if signs.baseline in (State.FAILED, State.STOPPED, State.INTERRUPTED):
        return signs.baseline
    if signs.status == "finished":
        return State.FINISHED
    return State.PREPARING if signs.has_config else State.WAITING


def say_state(state: State, *, folder: str, quiet: float | None, failure: str, is_sure: bool) -> str:
    """Return a sentence on what a run is at, and what to do about it.

    Args:
        state: what it is at.
        folder: the run's folder as the user would type it.
        quiet: seconds since its log was written to.
        failure: why it failed.
        is_sure: whether it is known that a process holds the log.
    """
    resume = f"`dropkd resume {folder}` goes on with it."
    since = "" if quiet is None else f" The last line is {duration(quiet)} old."
    if state is State.WAITING:
        return "Not begun: there is no configuration and no log yet."
    if state is State.PREPARING:
        return f"Being made ready: no step is logged yet.{since}"
    if state is State.BASELINE:
        return "The same student is trained alone first, for comparison."
    if state is State.RUNNING:
        return "" if is_sure else f"Whether a process trains it can't be told on this file system.{since}"
    if state is State.JUDGING:
        return "Trained; the kept weights are being judged."
    if state is State.FINISHED:
        return ""
    if state is State.INTERRUPTED:
        return resume
    if state is State.FAILED:
        return f"{failure} {resume}".lstrip()
    return f"No process trains this run: it was killed, or its machine went down.{since} {resume}"
