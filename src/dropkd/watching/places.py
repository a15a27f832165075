"""Opens files within a folder, and nothing else: no link and no name leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dropkd.errors import RunError

__all__ = ["is_plain_name", "open_inside", "read_inside"]

# A file that is no file (a pipe) must not keep the one who looks waiting.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ALONG = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
# What parts the names of a path.
_PARTING = ("/", "\0", *(("\\", ":") if os.name == "nt" else ()))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_GOES_BY_DESCRIPTORS = os.open in os.supports_dir_fd and bool(_NO_LINK)


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of something right within a folder."""
    return name not in ("", ".", "..") and not any(sign in name for sign in _PARTING)


def open_inside(root: Path, *names: str) -> int:
    """Open a file for reading and return its descriptor, which the caller closes.

    Each folder on the way and the file itself are opened from the one before and must not be links, so that nothing
    can be exchanged in between. ``root`` itself may be a link.

    Args:
        root: the folder.
        names: of the folders on the way, and of the file.

    Raises:
        FileNotFoundError: it is not there.
        RunError: a name or a link leads out of the folder, or it is no file.
        OSError: it can't be read.
    """
    shown = str(Path(root, *names))
    if not names or not all(is_plain_name(name) for name in names):
        raise RunError(f"{shown!r} is not within {str(root)!r}, so it is not read.")
    descriptor = _open_by_descriptors(root, names) if _GOES_BY_DESCRIPTORS else _open_by_paths(root, names)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(f"{shown!r} is no file, so it is not read.")
    return descriptor


def read_inside(root: Path, *names: str, limit: int = 64 * 2**20) -> bytes:
    """Return the content of a file within a folder; see :func:`open_inside`.

    Raises:
        RunError: as there, or it holds more than ``limit`` bytes.
    """
    with os.fdopen(open_inside(root, *names), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{str(Path(root, *names))!r} holds more than {limit:,} bytes, so it is not read.")
    return content


def _open_by_descriptors(root: Path, names: tuple[str, ...]) -> int:
    place = os.open(root, _ALONG)
    try:
        for name in names[:-1]:
            place, before = _open_in(place, name, _ALONG), place
            os.close(before)
        return _open_in(place, names[-1], _READ)
    finally:
        os.close(place)


def _open_in(place: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | _NO_LINK, dir_fd=place)
    except OSError:
        try:
            is_link = stat.S_ISLNK(os.lstat(name, dir_fd=place).st_mode)
        except OSError:
            is_link = False
        if is_link:
            raise RunError(f"{name!r} is a link, which may lead out of the folder, so it is not read.") from None
        raise


def _open_by_paths(root: Path, names: tuple[str, ...]) -> int:
    place = root.resolve()
    target = place.joinpath(*names)
    if target.resolve() != target:
        raise RunError(f"{str(target)!r} leads out of {str(root)!r}, so it is not read.")
    return os.open(target, _READ)
