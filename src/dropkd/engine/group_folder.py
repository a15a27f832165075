"""A group's folder: which runs belong to it, how far each one is, and why one failed."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from dropkd.config import Config
from dropkd.config.mistakes import Origins, describe_mistakes
from dropkd.config.yaml_text import parse_yaml, write_yaml
from dropkd.engine.outcome import read_metrics
from dropkd.errors import ConfigError, DropKDError, RunError
from dropkd.files import explained, writable_folder, write_text

__all__ = ["GroupFolder", "Member", "is_group"]

_LIST, _FAILURES, _LOCK = "group.yaml", "failures", ".lock"
_FORMAT = 1


@dataclass(frozen=True)
class Member:
    """A run of a group.

    Args:
        name: of its folder within the group's.
        label: what it has in common with the runs that differ from it in their seed alone.
        config: what it does; its ``output`` is not looked at.
        shares_cache: whether the teacher's answers are kept on disk for this run and others; None before that is
            decided.
    """

    name: str
    label: str
    config: Config
    shares_cache: bool | None = None


def is_group(folder: Path) -> bool:
    """Whether a folder holds a group of runs."""
    return (folder / _LIST).is_file()


@dataclass(frozen=True)
class GroupFolder:
    """A group of runs on disk.

    Args:
        path: its folder.
        members: its runs, in their order.
    """

    path: Path
    members: tuple[Member, ...]

    @classmethod
    def open(cls, path: Path) -> GroupFolder:
        """Open a group's folder.

        Raises:
            RunError: it is none, or its list of runs is damaged.
        """
        if not is_group(path):
            raise RunError(f"{str(path)!r} is no group of runs: it has no {_LIST}.")
        try:
            tree = parse_yaml((path / _LIST).read_text(encoding="utf-8"))
            if tree["group"] != _FORMAT:
                raise RunError(f"{str(path / _LIST)!r} is of form {tree['group']}, and this version reads {_FORMAT}.")
            members = tuple(
                Member(str(name), str(run["label"]), _read_config(run["config"]), run["shares_cache"])
                for name, run in tree["runs"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise RunError(f"The list of runs {str(path / _LIST)!r} is damaged: {error}") from error
        return cls(path, members)

    def write(self) -> None:
        """Write the list of runs, in a folder that is made where it is not there."""
        writable_folder(self.path)
        runs = {
            member.name: {
                "label": member.label,
                "shares_cache": member.shares_cache,
                "config": member.config.model_dump(mode="json"),
            }
            for member in self.members
        }
        write_text(self.path / _LIST, write_yaml({"group": _FORMAT, "runs": runs}))

    def with_members(self, members: Sequence[Member]) -> GroupFolder:
        """Return the group with these runs beside its own.

        Raises:
            RunError: one of them is there already, with other settings.
        """
        own = {member.name: member for member in self.members}
        for member in members:
            known = own.setdefault(member.name, member)
            differing = _find_differences(known.config.model_dump(mode="json"), member.config.model_dump(mode="json"))
            if differing:
                raise RunError(
                    f"The group {str(self.path)!r} has a run {member.name!r} with other settings: "
                    f"{'; '.join(differing)}. Give them as they were, choose another --output, or replace the group "
                    "with --overwrite."
                )
        return GroupFolder(self.path, tuple(own.values()))

    def folder_of(self, member: Member) -> Path:
        """Return a run's folder."""
        return self.path / member.name

    def is_finished(self, member: Member) -> bool:
        """Whether a run came to its end."""
        return read_metrics(self.folder_of(member)).get("status") == "finished"

    @property
    def unfinished(self) -> list[Member]:
        """The runs that are still to be trained, or to be gone on with."""
        return [member for member in self.members if not self.is_finished(member)]

    def failure_of(self, member: Member) -> str | None:
        """Return why a run failed when it was last tried; None where it did not."""
        file = self._failure_file(member)
        if not file.is_file() or self.is_finished(member):
            return None
        return file.read_text(encoding="utf-8").strip().splitlines()[-1]

    def note_failure(self, member: Member, error: Exception) -> None:
        """Write down why a run failed; with the way there where that is for people who know the program."""
        words = f"{type(error).__name__}: {error}".replace("\n", " ")
        text = str(error).replace("\n", " ") if isinstance(error, DropKDError) else words
        way = "" if isinstance(error, DropKDError) else "".join(traceback.format_exception(error)) + "\n"
        with explained(self._failure_file(member)):
            self._failure_file(member).parent.mkdir(exist_ok=True)
        write_text(self._failure_file(member), f"{way}{text}\n")

    def forget_failure(self, member: Member) -> None:
        """Take the reason away: the run is tried again."""
        self._failure_file(member).unlink(missing_ok=True)

    def _failure_file(self, member: Member) -> Path:
        return self.path / _FAILURES / f"{member.name}.txt"

    def remove(self) -> None:
        """Remove the group with all its runs; what else lies in its folder stays."""
        for member in self.members:
            shutil.rmtree(self.folder_of(member), ignore_errors=True)
        shutil.rmtree(self.path / _FAILURES, ignore_errors=True)
        (self.path / _LIST).unlink()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the right to train these runs.

        Raises:
            RunError: another process does.
        """
        with explained(self.path / _LOCK):
            lock = FileLock(self.path / _LOCK)
            try:
                held = lock.acquire(timeout=0)
            except Timeout as error:
                raise RunError(
                    f"Another process is training the group {str(self.path)!r}. Wait for its end."
                ) from error
        with held:
            yield


def _read_config(tree: Any) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(describe_mistakes(error, Origins()))) from None


def _find_differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what two trees of settings say differently, in words."""
    found = []
    for key in [*there, *(key for key in here if key not in there)]:
        one, other = there.get(key), here.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _find_differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key} is {one!r} there and {other!r} here")
    return found
