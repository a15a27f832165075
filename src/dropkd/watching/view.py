"""What is known of a run at a moment: how far it is, how it does, and what to be wary of."""

from __future__ import annotations

import math
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from dropkd.report.event_log import EventLog, Points
from dropkd.report.run_record import RunRecord
from dropkd.report.wording import duration
from dropkd.watching.states import State, say_state

__all__ = ["RunView", "TermView"]

# Time left is told by the pace of so many of the last log lines, which are 20 an epoch.
_PACE_LINES = 40
# A log that was silent so many times longer than it is wont to be, and at least so long, is worth a word.
_QUIET_TIMES, _QUIET_SECONDS = 12.0, 120.0
_MOST_WARNINGS = 5


@dataclass(frozen=True)
class TermView:
    """A term of the loss: its last values, its share of the last epoch's loss, and its course."""

    name: str
    raw: float | None
    weighted: float | None
    share: float | None
    course: tuple[float, ...]


@dataclass(frozen=True)
class RunView:
    """A run at a moment.

    Args:
        record: its configuration, log and figures.
        state: what it is at.
        is_held: whether a process holds its log; None where that can't be told.
        quiet: seconds since its log was written to; None where there is none.
        noted: warnings that the run wrote down, and what of its files can't be read.
        failure: why it failed, empty where it did not.
        baseline: the plain run within it, None without one.
        group: the folder of the group that it belongs to, by which it is resumed; None for a run of its own.
    """

    record: RunRecord
    state: State
    is_held: bool | None
    quiet: float | None
    noted: tuple[str, ...] = ()
    failure: str = ""
    baseline: RunView | None = None
    group: Path | None = None

    @cached_property
    def recent(self) -> EventLog:
        """The end of the log: what is told of now needs no more, and a log may hold a hundred thousand lines."""
        log = self.record.log
        return EventLog(log.steps[-_PACE_LINES:], log.epochs[-_PACE_LINES:], ())

    @property
    def words(self) -> str:
        """A sentence on the state; empty where there is nothing to add to it."""
        return say_state(
            self.state,
            folder=shlex.quote(str(self.group or self.record.folder)),
            quiet=self.quiet,
            failure=self.failure,
            is_sure=self.is_held is not None,
        )

    @property
    def heading(self) -> str:
        """What is trained by which method."""
        run = self.record
        return f"{run.student_name}, {'trained alone' if run.method == 'plain' else run.method}"

    @property
    def title(self) -> str:
        """What is trained by which method from whom."""
        source = None if self.record.method == "plain" else self.record.teacher_name
        return self.heading if source is None else f"{self.heading} from {source}"

    @cached_property
    def done_steps(self) -> int:
        """Steps that are done, as far as they are logged."""
        ends = [event.get("step") for event in self.record.log.epochs]
        known = [step for step in ends if isinstance(step, int)]
        return max([*known, *(event["step"] for event in self.record.log.steps[-1:])], default=0)

    @cached_property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None before the first is logged."""
        total = self.record.log.steps[-1].get("total_steps") if self.record.log.steps else None
        return total if isinstance(total, int) and total > 0 else None

    @property
    def fraction(self) -> float:
        """The share of the run that is done."""
        if self.state is State.FINISHED:
            return 1.0
        return min(1.0, self.done_steps / self.total_steps) if self.total_steps else 0.0

    @property
    def epochs(self) -> int | None:
        """Epochs that are planned."""
        planned = self.record.setting("training", "epochs")
        return planned if isinstance(planned, int) and planned > 0 else None

    @property
    def epoch(self) -> int | None:
        """The epoch in progress, or the last one, counted from 1; None before the first step."""
        at = [event.get("epoch") for event in (*self.record.log.steps[-1:], *self.record.log.epochs[-1:])]
        found = [epoch + 1 for epoch in at if isinstance(epoch, int)]
        return max(found, default=None)

    @property
    def seconds(self) -> float | None:
        """Time that training took so far."""
        return max((value for value in (_last(self.timeline), self.record.figure("seconds")) if value), default=None)

    @cached_property
    def timeline(self) -> Points:
        """Steps done of late, and the seconds that all took until then."""
        log = self.recent
        ends = [
            (float(event["step"]), float(event["seconds"]))
            for event in log.epochs
            if isinstance(event.get("step"), int) and _is_number(event.get("seconds"))
        ]
        return sorted([*log.by_step("seconds"), *ends])[-_PACE_LINES:]

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at the pace of late, validation included; None where that can't be told."""
        total = self.total_steps
        if self.state is not State.RUNNING or total is None or len(self.timeline) < 2:
            return None
        first, last = self.timeline[0], self.timeline[-1]
        if last[0] <= first[0] or last[1] <= first[1]:
            return None
        left = (last[1] - first[1]) / (last[0] - first[0]) * (total - last[0])
        # What has passed since that line is no longer to come, unless the run hangs.
        return max(0.0, left - min(self.quiet or 0.0, _QUIET_SECONDS))

    @property
    def is_at_most(self) -> bool:
        """Whether patience may end the run earlier."""
        return bool(self.record.setting("training", "patience"))

    @property
    def loss(self) -> float | None:
        """The loss of the last logged step."""
        return _last(self.recent.by_step("loss"))

    @property
    def lr(self) -> float | None:
        """The learning rate of the last logged step."""
        return _last(self.recent.by_step("lr") or self.recent.by_epoch("lr"))

    @property
    def images_per_second(self) -> float | None:
        """The pace of late, the median of some log lines; None where the run is not going on or its log tells none."""
        rates = [rate for _, rate in self.recent.by_step("images_per_second")[-_PACE_LINES // 2 :]]
        return statistics.median(rates) if rates and self.state.goes_on else None

    @property
    def peak_memory(self) -> float | None:
        """The most memory so far, in bytes: of the GPU, else of the process."""
        return _last(self.recent.by_epoch("peak_memory"))

    @cached_property
    def validation(self) -> Points:
        """(epoch, accuracy or mAP) on the validation images."""
        return self.record.log.by_epoch("val", self.record.headline)

    @property
    def best(self) -> tuple[int, float] | None:
        """The epoch whose weights are kept, counted from 1, and its validation figure."""
        selected = self.record.log.selected
        figures = dict(self.validation)
        if selected is None or selected + 1 not in figures:
            return None
        return selected + 1, figures[selected + 1]

    @cached_property
    def terms(self) -> tuple[TermView, ...]:
        """The terms of the loss, in their order."""
        log = self.record.log
        stepped = (log.steps[-1].get("terms") if log.steps else None) or {}
        names = dict.fromkeys([*log.terms, *(str(name) for name in stepped if isinstance(stepped, Mapping))])
        return tuple(self._view_term(name) for name in names)

    def _view_term(self, name: str) -> TermView:
        course = self.record.log.by_epoch("train", "terms", name, "raw")
        by_step = self.recent.by_step("terms", name, "raw")
        return TermView(
            name,
            _last(by_step or course),
            _last(self.recent.by_step("terms", name, "weighted")),
            _last(self.recent.by_epoch("train", "terms", name, "share")),
            tuple(value for _, value in (course if len(course) > 1 else by_step)),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to be wary of, the latest last; what is said of every epoch anew is said once."""
        found = [*self.noted, *self.record.log.gaps, *self._find_trouble()]
        latest = {re.sub(r"\d+", "#", text): text for text in found}
        return tuple(latest.values())[-_MOST_WARNINGS:]

    def _find_trouble(self) -> list[str]:
        found = []
        last = self.record.log.steps[-1] if self.record.log.steps else {}
        if isinstance(last.get("loss"), float) and not math.isfinite(last["loss"]):
            found.append(f"The loss of step {last['step']} is not finite.")
        usual = self._usual_pause()
        if self.state is State.RUNNING and self.quiet and usual and self.quiet > max(_QUIET_SECONDS, usual):
            found.append(f"Nothing has been logged for {duration(self.quiet)}: the run may hang, or validate slowly.")
        return found

    def _usual_pause(self) -> float | None:
        """Seconds of silence from which on a log is unusually quiet."""
        times = [seconds for _, seconds in self.timeline]
        pauses = [b - a for a, b in pairwise(times) if b > a]
        return _QUIET_TIMES * max(statistics.median(pauses), max(pauses) / 4) if pauses else None

    @property
    def epoch_events(self) -> Sequence[Mapping[str, Any]]:
        """The log's lines on whole epochs."""
        return self.record.log.epochs


def _last(points: Points) -> float | None:
    return points[-1][1] if points else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
