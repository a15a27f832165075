"""Where a group of runs goes, and which of its runs are there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dropkd.engine.group_folder import GroupFolder, Member, is_group
from dropkd.engine.group_plan import share_views
from dropkd.engine.run_folder import with_absolute_paths
from dropkd.errors import ConfigError, RunError

__all__ = ["open_group"]

# A longer list of students would make a name that nobody reads.
_MOST_NAMED = 3


def open_group(members: Sequence[Member], output: Path | None, *, overwrite: bool = False) -> GroupFolder:
    """Return the group of these runs: a new one, or the one that they were started in. Nothing is written.

    Runs that are not there yet are added to a group that is there. The views and the validation images of all are
    those of the first run's seed, where the configurations don't say otherwise.

    Args:
        members: the runs.
        output: the group's folder; None finds the one under ``runs/`` that this very group was started in, or else the
            next free one.
        overwrite: remove what is there.

    Raises:
        ConfigError: no runs, or two of one name.
        RunError: a run is there with other settings, or something else stands in the folder.
    """
    names = [member.name for member in members]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"A group needs runs of different names, got {names}.")
    members = [
        Member(m.name, m.label, with_absolute_paths(m.config.model_copy(update={"output": None}))) for m in members
    ]
    if output is not None:
        return _join(members, output, overwrite)
    number = 1
    while True:
        folder = Path("runs") / f"{_name_group(members)}-{number}"
        if not folder.exists():
            return _join(members, folder, overwrite)
        if is_group(folder) and _is_same(members, folder):
            return _join(members, folder, overwrite)
        number += 1


def _join(members: Sequence[Member], folder: Path, overwrite: bool) -> GroupFolder:
    if not is_group(folder):
        _check_free(folder)
        return GroupFolder(folder, tuple(share_views(members, members[0].config.seed)))
    there = GroupFolder.open(folder)
    if overwrite:
        with there.working():
            there.remove()
        return GroupFolder(folder, tuple(share_views(members, members[0].config.seed)))
    return there.with_members(share_views(members, there.members[0].config.view_seed))


def _is_same(members: Sequence[Member], folder: Path) -> bool:
    try:
        there = GroupFolder.open(folder)
        joined = there.with_members(share_views(members, there.members[0].config.view_seed))
    except RunError:
        return False
    return len(joined.members) == len(there.members) == len(members)


def _check_free(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"--output {str(folder)!r} is a file. Choose a folder.")
    if (folder / "config.yaml").is_file():
        raise RunError(
            f"{str(folder)!r} is the folder of a single run, and several runs need one of their own. Choose another "
            "--output."
        )
    if any(folder.iterdir()):
        raise RunError(
            f"The folder {str(folder)!r} is not empty and no group of runs, so it is left as it is. Choose another."
        )


def _name_group(members: Sequence[Member]) -> str:
    students = list(dict.fromkeys(member.config.student.name.replace("/", "-") for member in members))
    named = "+".join(students[:_MOST_NAMED])
    more = f"+{len(students) - _MOST_NAMED}" if len(students) > _MOST_NAMED else ""
    methods = "+".join(dict.fromkeys(member.config.method.name for member in members))
    return f"{methods}-{named}{more}-group"
