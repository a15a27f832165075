"""Follows one run: looks again at what may have changed and keeps the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, RunError
from dropkd.report.event_log import order_events
from dropkd.report.run_record import RunRecord
from dropkd.watching.places import open_inside, read_inside
from dropkd.watching.states import Signs, State, find_state
from dropkd.watching.tail import Tail
from dropkd.watching.view import RunView

__all__ = ["RunWatch"]

_BASELINE = "baseline"


class RunWatch:
    """Follows a run's files within a folder that is not left, whatever links say.

    Args:
        root: the folder that may be read.
        names: of the folders from there to the run's, none where it is ``root`` itself.
        with_baseline: follow the plain run within it as well.
        group: the folder of the group that it belongs to, if any.
    """

    def __init__(self, root: Path, *names: str, with_baseline: bool = True, group: Path | None = None) -> None:
        self.root, self.names, self.group = root, names, group
        self.folder = Path(root, *names)
        self._tail = Tail(root, *names, "metrics.jsonl")
        self._config = _Kept(root, (*names, "config.yaml"), lambda text: parse_yaml(text.decode()))
        self._metrics = _Kept(root, (*names, "metrics.json"), json.loads)
        self._baseline = RunWatch(root, *names, _BASELINE, with_baseline=False) if with_baseline else None

    def look(self) -> RunView:
        """Return what is known of the run now."""
        metrics_written = self._metrics.read()
        self._config.read()
        self._tail.read()
        tail, metrics = self._tail, self._metrics.content
        baseline = self._baseline.look() if self._baseline is not None else None
        if baseline is not None and baseline.state is State.WAITING:
            baseline = None
        log = order_events(tail.events, tail.broken)
        last = log.steps[-1] if log.steps else {}
        ends = [event.get("step") for event in log.epochs[-1:]]
        signs = Signs(
            has_config=bool(self._config.content),
            has_log=tail.exists,
            is_held=tail.is_held,
            events=tail.events,
            status=str(metrics.get("status") or ""),
            status_is_newer=metrics_written is not None and metrics_written >= (tail.written or 0.0),
            baseline=None if baseline is None else baseline.state,
            all_steps_done=bool(last) and last.get("total_steps") in ends,
        )
        state = find_state(signs)
        record = RunRecord(
            self.folder, self._find_config(), log, _fitting(metrics, state), {}, {}, _classes(metrics), (),
            None if baseline is None else baseline.record, is_running=state.goes_on,
        )  # fmt: skip
        told = [str(event.get("text")) for event in tail.events if event.get("event") == "warning"]
        trouble = [said for said in (tail.trouble, self._config.trouble, self._metrics.trouble) if said]
        failure = next((str(e.get("reason")) for e in tail.events[-1:] if e.get("event") == "failure"), "")
        if not failure and baseline is not None and state is baseline.state:
            failure = baseline.failure
        return RunView(record, state, tail.is_held, tail.quiet, (*told, *trouble), failure, baseline, self.group)

    def _find_config(self) -> Mapping[str, Any]:
        """Return the configuration as the log began with it, or as it lies there."""
        first = self._tail.events[0] if self._tail.events else {}
        begun = first.get("config")
        return begun if isinstance(begun, dict) else self._config.content


def _fitting(metrics: Mapping[str, Any], state: State) -> Mapping[str, Any]:
    """Return the figures without those of a state that the run has left: one that goes on has no final ones."""
    if state in (State.FINISHED, State.INTERRUPTED):
        return metrics
    return {key: metrics[key] for key in ("student", "method", "seed", "multi_label") if key in metrics}


def _classes(metrics: Mapping[str, Any]) -> tuple[str, ...] | None:
    classes = metrics.get("classes")
    return tuple(str(name) for name in classes) if isinstance(classes, list) else None


class _Kept:
    """A small file that is parsed again only when it was written anew."""

    def __init__(self, root: Path, names: tuple[str, ...], parse: Callable[[bytes], Any]) -> None:
        self.root, self.names, self.parse = root, names, parse
        self.content: Mapping[str, Any] = {}
        self.trouble = ""
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> float | None:
        """Bring the content up to date; return when the file was written, None where there is none."""
        try:
            descriptor = open_inside(self.root, *self.names)
        except (FileNotFoundError, NotADirectoryError):
            self.content, self.trouble, self._seen = {}, "", None
            return None
        except (OSError, RunError) as error:
            self.trouble = str(error)
            return None
        status = os.fstat(descriptor)
        os.close(descriptor)
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            self._seen = seen
            self._parse()
        return status.st_mtime

    def _parse(self) -> None:
        self.content, self.trouble = {}, ""
        try:
            tree = self.parse(read_inside(self.root, *self.names))
        except (OSError, ValueError, ConfigError, RunError, RecursionError) as error:
            self.trouble = f"{self.names[-1]} can't be read: {error}"
            return
        if isinstance(tree, dict):
            self.content = tree
