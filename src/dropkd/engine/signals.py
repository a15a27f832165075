"""SIGTERM and Ctrl-C as a wish to stop, heard between two steps."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupted", "StopRequest"]


class Interrupted(Exception):  # noqa: N818  (it is no error: the run was asked to stop and did)
    """Training stopped at the user's or the system's wish, with its state on disk.

    Args:
        signal_number: the signal that asked for it.
        where: how far it came.
        folder: the run folder.
    """

    def __init__(self, signal_number: int, where: str, folder: Path) -> None:
        super().__init__(f"Stopped {where}; nothing is lost. Go on with: dropkd resume {folder}")
        self.signal_number, self.where, self.folder = signal_number, where, folder


class StopRequest:
    """While active, notes the first SIGTERM or SIGINT; a second one acts at once, as if this weren't here.

    Outside the main thread, where Python can't hear signals, it does nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
