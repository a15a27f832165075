"""Follows the runs of a group, or of a folder of runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, RunError
from dropkd.file_locks import is_locked
from dropkd.watching.places import is_plain_name, open_inside, read_inside
from dropkd.watching.run_watch import RunWatch
from dropkd.watching.states import State
from dropkd.watching.view import RunView

__all__ = ["GroupView", "GroupWatch", "MemberView", "is_group_folder", "list_runs"]

_LIST, _FAILURES, _LOCK = "group.yaml", "failures", ".lock"
_RUN_FILES = ("config.yaml", "metrics.jsonl", "metrics.json")


@dataclass(frozen=True)
class MemberView:
    """A run of a group: its name, what it has in common with others, and what is known of it."""

    name: str
    label: str
    run: RunView
    failure: str = ""

    @property
    def state(self) -> State:
        """What it is at; one whose failure the group wrote down has failed, unless it goes on again."""
        return State.FAILED if self.failure and not self.run.state.goes_on else self.run.state

    @property
    def shown(self) -> RunView:
        """The run that is being trained: itself, or the plain run that is trained first."""
        run = self.run
        return run.baseline if run.state is State.BASELINE and run.baseline is not None else run

    @property
    def reason(self) -> str:
        """Why it failed; empty where it did not."""
        return (self.failure or self.run.failure) if self.state is State.FAILED else ""


@dataclass(frozen=True)
class GroupView:
    """Several runs at a moment.

    Args:
        folder: theirs.
        members: the runs, in their order.
        trouble: why the list of runs can't be read, empty where it can.
        is_held: whether a process trains the group, be it between two runs.
    """

    folder: Path
    members: Sequence[MemberView]
    trouble: str = ""
    is_held: bool = False

    def count(self, *states: State) -> int:
        """Return how many runs are in one of these states."""
        counted = Counter(member.state for member in self.members)
        return sum(counted[state] for state in states)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes the group: no process trains it, and no run goes on."""
        return not self.is_held and not any(member.state.goes_on for member in self.members)


class GroupWatch:
    """Follows the runs of a group's list, or those that lie in a folder; links are not followed.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runs: dict[str, RunWatch] = {}
        self._listed: dict[str, str] = {}
        self._trouble = ""
        self._is_listed = False

    def look(self) -> GroupView:
        """Return what is known of the runs now."""
        # Asked first: between this and the runs' own signs a run may begin, but none can be missed.
        is_held = self._is_held()
        self._list()
        members = []
        for name, label in self._listed.items():
            if name not in self._runs:
                self._runs[name] = RunWatch(self.root, name, group=self.root if self._is_listed else None)
            run = self._runs[name].look()
            members.append(MemberView(name, label, run, self._find_failure(name, run)))
        return GroupView(self.root, tuple(members), self._trouble, is_held)

    def _is_held(self) -> bool:
        try:
            descriptor = open_inside(self.root, _LOCK)
        except (OSError, RunError):
            return False
        try:
            return bool(is_locked(descriptor))
        finally:
            os.close(descriptor)

    def _list(self) -> None:
        self._trouble = ""
        try:
            tree = parse_yaml(read_inside(self.root, _LIST).decode())
            self._is_listed = True
            runs = {str(name): str((run or {}).get("label") or name) for name, run in tree["runs"].items()}
        except FileNotFoundError:
            self._listed = {name: name for name in list_runs(self.root)}
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError, RunError) as error:
            self._trouble = f"The list of runs {str(self.root / _LIST)!r} can't be read: {error}"
            return
        outside = [name for name in runs if not is_plain_name(name)]
        if outside:
            self._trouble = f"The list of runs names {outside[0]!r}, which is not within the group's folder: left out."
        self._listed = {name: label for name, label in runs.items() if is_plain_name(name)}

    def _find_failure(self, name: str, run: RunView) -> str:
        if run.state is State.FINISHED:
            return ""
        try:
            lines = read_inside(self.root, _FAILURES, f"{name}.txt").decode(errors="replace").strip().splitlines()
        except (OSError, RunError):
            return ""
        return lines[-1] if lines else ""


def is_group_folder(folder: Path) -> bool:
    """Return whether a folder is that of a group."""
    return (folder / _LIST).is_file()


def list_runs(folder: Path) -> list[str]:
    """Return the names of the folders in a folder that hold a run; links are passed over."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        path.name
        for path in inside
        if not path.is_symlink() and path.is_dir() and any((path / name).is_file() for name in _RUN_FILES)
    ]
