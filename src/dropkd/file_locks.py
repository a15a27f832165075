"""Tells whether a process is writing to a file: the writer holds a lock on it, which ends with the process.

Unlike a note of the process's number it can't be left behind by one that was killed, and it is known on other
machines that share the disk, where the file system passes locks on.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold_lock", "is_locked", "is_path_locked", "release_lock"]

# A reader that looks whether the file is held holds it itself for an instant; processes that read images may outlive
# the one that trained by a few seconds.
_PATIENCE = 10.0
_PAUSE = 0.02


def hold_lock(file: IO[bytes], patience: float = _PATIENCE) -> bool:
    """Hold a file that is open for writing until it is closed, or until this process ends.

    Args:
        file: the file.
        patience: seconds to wait for another writer.

    Returns:
        False where another process holds it; True where it is held, and where the system knows no such locks.
    """
    if fcntl is None:
        return True
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)
        else:
            return True


def release_lock(file: IO[bytes]) -> None:
    """Give a file free at once, even where processes that read images have it open still."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def is_locked(descriptor: int) -> bool | None:
    """Return whether a process holds a file that is open for reading; None where the system can't tell."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN) else None
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def is_path_locked(path: Path) -> bool | None:
    """Return whether a process holds a file; False where there is no such file, None where the system can't tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)
