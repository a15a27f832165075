"""A run's log read on as it grows: half lines wait, and a file that was cut or replaced is read anew."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropkd.errors import RunError
from dropkd.file_locks import is_locked
from dropkd.report.event_log import parse_events
from dropkd.watching.places import open_inside

__all__ = ["Tail"]

# So many bytes before the place that was read up to are looked at again: a resumed run cuts its log and writes on, and
# may be past that place before anybody looks.
_MARK = 96
_CHUNK = 2**20


class Tail:
    """Follows a ``metrics.jsonl``; :meth:`read` brings what is known of it up to date.

    Args:
        root: the folder that may be read.
        names: of the folders on the way, and of the file.
    """

    def __init__(self, root: Path, *names: str) -> None:
        self.root, self.names = root, names
        self.events: list[Mapping[str, Any]] = []
        self.broken = 0
        # Whether the file is there, whether a process holds it (None: unknown), why it can't be read.
        self.exists, self.is_held, self.trouble = False, None, ""  # type: bool, bool | None, str
        self.written: float | None = None
        self._file: tuple[int, int] | None = None
        self._offset, self._mark = 0, b""

    @property
    def quiet(self) -> float | None:
        """Seconds since something was written; None where there is no file."""
        return None if self.written is None else max(0.0, time.time() - self.written)

    def read(self) -> bool:
        """Read what was written since the last call; return whether anything is other than before."""
        before = (self.exists, self.is_held, self.trouble, len(self.events), self.broken, self._file, self._offset)
        self.trouble = ""
        try:
            descriptor = open_inside(self.root, *self.names)
        except FileNotFoundError:
            self._forget()
            self.exists, self.is_held, self.written, self._file = False, False, None, None
        except (OSError, RunError) as error:
            self.trouble = str(error)
        else:
            try:
                self._read_from(descriptor)
            finally:
                os.close(descriptor)
        return before != (
            self.exists, self.is_held, self.trouble, len(self.events), self.broken, self._file, self._offset,
        )  # fmt: skip

    def _read_from(self, descriptor: int) -> None:
        # Asked before the content is read: of a file that nobody holds all that was written is seen.
        self.exists, self.is_held = True, is_locked(descriptor)
        status = os.fstat(descriptor)
        self.written = status.st_mtime
        file = (status.st_dev, status.st_ino)
        if file != self._file or status.st_size < self._offset or not self._is_at_mark(descriptor):
            self._forget()
            self._file = file
        os.lseek(descriptor, self._offset, os.SEEK_SET)
        parts = []
        while part := os.read(descriptor, _CHUNK):
            parts.append(part)
        content = b"".join(parts)
        whole = content[: content.rfind(b"\n") + 1]
        if whole:
            events, broken = parse_events(whole)
            self.events += events
            self.broken += broken
            self._offset += len(whole)
            self._mark = (self._mark + whole)[-_MARK:]

    def _is_at_mark(self, descriptor: int) -> bool:
        os.lseek(descriptor, self._offset - len(self._mark), os.SEEK_SET)
        return os.read(descriptor, len(self._mark)) == self._mark

    def _forget(self) -> None:
        # A new list: whoever holds the old one is not to see it change.
        self.events, self.broken, self._offset, self._mark = [], 0, 0, b""
