"""Reads ``metrics.jsonl``, steps, epochs and changed labels, which may still be written to or cut off in a line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["EventLog", "Points", "order_events", "parse_events", "read_event_log"]

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class EventLog:
    """The steps and epochs of a run, in order; of one that was repeated after a resume, the later.

    Args:
        steps: ``step`` events.
        epochs: ``epoch`` events.
        gaps: what could not be read, each a sentence.
        relabels: ``relabel`` events, one for each epoch whose method changed labels.
    """

    steps: Sequence[Mapping[str, Any]]
    epochs: Sequence[Mapping[str, Any]]
    gaps: tuple[str, ...]
    relabels: Sequence[Mapping[str, Any]] = ()

    def by_epoch(self, *keys: str) -> Points:
        """Return (epoch counted from 1, value) where the value is a finite number."""
        return [(x + 1, y) for x, y in _collect(self.epochs, "epoch", keys)]

    def by_step(self, *keys: str) -> Points:
        """Return (step, value) where the value is a finite number."""
        return _collect(self.steps, "step", keys)

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the names of the loss terms in their order."""
        return _term_names(self.epochs, lambda event: (event.get("train") or {}).get("terms"))

    @property
    def selected(self) -> int | None:
        """Return the number of the epoch with the best validation figure so far, counted from 0."""
        best = [event["epoch"] for event in self.epochs if event.get("best")]
        return best[-1] if best else None


def read_event_log(path: Path, *, is_written: bool = False) -> EventLog:
    """Read a run's log; lines that are not whole are left out and counted.

    Args:
        path: the log.
        is_written: a process writes to it: a last line without its end is no flaw then, but on its way.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return EventLog((), (), ("metrics.jsonl is not there: no learning curves.",))
    if is_written:
        content = content[: content.rfind(b"\n") + 1]
    return order_events(*parse_events(content))


def parse_events(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the events of a log's lines, and how many lines could not be read."""
    events, broken = [], 0
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            event = json.loads(line)
        # RecursionError: brackets within brackets without end.
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            events.append(event)
        else:
            broken += 1
    return events, broken


def order_events(events: Sequence[Mapping[str, Any]], broken: int = 0) -> EventLog:
    """Return the log of some events, told that so many lines could not be read."""
    gaps = (f"metrics.jsonl: left out unreadable lines ({broken}).",) if broken else ()
    steps, epochs = (_latest(events, kind, kind) for kind in ("step", "epoch"))
    return EventLog(steps, epochs, gaps, _latest(events, "relabel", "epoch"))


def _latest(events: Sequence[Mapping[str, Any]], kind: str, number: str) -> list[Mapping[str, Any]]:
    """Return the events of a kind in order of their number; a resumed run may write a number twice."""
    chosen = [e for e in events if e.get("event") == kind and isinstance(e.get(number), int)]
    latest = {event[number]: event for event in chosen}
    return [latest[at] for at in sorted(latest)]


def _collect(events: Sequence[Mapping[str, Any]], number: str, keys: tuple[str, ...]) -> Points:
    points: Points = []
    for event in events:
        value: Any = event
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            points.append((float(event[number]), float(value)))
    return points


def _term_names(events: Sequence[Mapping[str, Any]], find: Callable[[Mapping[str, Any]], Any]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for event in events:
        terms = find(event)
        if isinstance(terms, Mapping):
            names |= dict.fromkeys(str(name) for name in terms)
    return tuple(names)
