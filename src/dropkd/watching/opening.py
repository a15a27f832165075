"""Finds what there is to follow in a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dropkd.errors import RunError, did_you_mean
from dropkd.watching.group_watch import GroupWatch, is_group_folder, list_runs
from dropkd.watching.run_watch import RunWatch

__all__ = ["find_latest_run", "holds_run", "open_watch"]

_RUN_FILES = ("config.yaml", "metrics.jsonl", "metrics.json")


def open_watch(folder: Path) -> RunWatch | GroupWatch:
    """Return what follows the run, the group or the runs in a folder.

    Raises:
        RunError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        if folder.exists():
            raise RunError(f"{str(folder)!r} is a file. Give the folder of a run (--output of the training).")
        beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise RunError(
            f"There is no run folder {str(folder)!r}.{did_you_mean(folder.name, beside)} It is made when the data has "
            "been read and the teacher judged; `dropkd watch --wait` waits for it."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise RunError(f"The folder {str(folder)!r} can't be read: permission was denied.")
    if is_group_folder(folder):
        return GroupWatch(folder)
    if holds_run(folder):
        return RunWatch(folder)
    if list_runs(folder):
        return GroupWatch(folder)
    raise RunError(
        f"{str(folder)!r} is no run folder: it holds no config.yaml, metrics.jsonl or metrics.json, and no folder "
        "that does. Give the folder that `dropkd train` or `dropkd distill` wrote (--output)."
    )


def holds_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return any((folder / name).is_file() for name in _RUN_FILES)


def find_latest_run(place: Path = Path("runs")) -> Path:
    """Return the run or group in a folder that was written to last.

    Raises:
        RunError: there is none.
    """
    found = [path for path in (place.iterdir() if place.is_dir() else ()) if _written(path) is not None]
    if not found:
        raise RunError(f"There is no run in {str(place)!r}. Name the run's folder: dropkd watch RUN.")
    return max(found, key=lambda path: (_written(path) or 0.0, path.name))


def _written(folder: Path) -> float | None:
    """Return when a run or a run of a group was last written to; None where the folder holds neither."""
    folders = [folder, *(folder / name for name in list_runs(folder))] if is_group_folder(folder) else [folder]
    times = []
    for place in folders:
        for name in (*_RUN_FILES, "group.yaml"):
            with suppress(OSError):
                times.append((place / name).stat().st_mtime)
    return max(times, default=None)
