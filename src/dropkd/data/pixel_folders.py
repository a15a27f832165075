"""The folders of decoded images: one for each data set, together no larger than a limit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropkd.data.cache_place import cache_folder
from dropkd.data.pixel_file import PixelFile

__all__ = ["SHARE_OF_DISK", "claim", "count_bytes", "make_room", "pixels_root"]

# Unasked, no more of a disk's free space is taken than this.
SHARE_OF_DISK = 0.25
_ABOUT, _LOCK = "about.json", "lock"


def pixels_root() -> Path:
    """Return the folder of all data sets' decoded images."""
    return cache_folder() / "pixels"


def count_bytes(folder: Path) -> int:
    """Return what a folder takes on the disk, where files may have holes; 0 where it is not there."""
    with suppress(OSError):
        return sum(512 * path.stat().st_blocks for path in folder.iterdir())
    return 0


def make_room(own: Path, limit: int) -> None:
    """Remove other data sets' images, the longest unused first, until the rest fits; those in use stay.

    Args:
        own: the folder that is to stay.
        limit: what all others may take together.
    """
    held = sorted((_read_time(path), path) for path in pixels_root().glob("*") if path.is_dir() and path != own)
    total = sum(count_bytes(path) for _, path in held)
    for _, path in held:
        if total <= limit:
            break
        with _unused(path) as is_unused:
            if is_unused:
                total -= count_bytes(path)
                shutil.rmtree(path, ignore_errors=True)


def claim(file: PixelFile, data: Path) -> None:
    """Make the folder of a data set, note its use, and keep others from removing it while this process runs.

    Args:
        file: the decoded images.
        data: what they are of, for whoever looks into the folder.

    Raises:
        OSError: it can't be made.
    """
    file.folder.mkdir(parents=True, exist_ok=True)
    # Where nobody may write, what is there can still be read.
    with suppress(PermissionError):
        about = {"data": str(data), "images": len(file.sizes)}
        (file.folder / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        file.lock(file.folder / _LOCK)


def _read_time(folder: Path) -> float:
    """Return when a folder was last used; 0, long ago, where it does not say."""
    with suppress(OSError):
        return (folder / _ABOUT).stat().st_mtime
    return 0.0


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Tell whether no process uses a folder, and keep it so."""
    import fcntl

    try:
        lock = (folder / _LOCK).open("a")
    except OSError:
        # Whoever uses one has made this file.
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
