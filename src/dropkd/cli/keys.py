"""Reads single keys from a terminal, and leaves it as it was."""

from __future__ import annotations

import os
import select
import sys
import time
from types import TracebackType
from typing import Any, Self

try:
    import termios
    import tty
except ImportError:  # not on Windows
    termios = None  # type: ignore[assignment]

__all__ = ["Keys"]


class Keys:
    """While active, keys are read as they are pressed and not shown; without a terminal there are none.

    Ctrl-C stays what it is.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[Any] = []

    @property
    def are_heard(self) -> bool:
        """Whether keys can be read one by one."""
        return self._descriptor is not None

    def __enter__(self) -> Self:
        try:
            descriptor = sys.stdin.fileno()
            if termios is not None and os.isatty(descriptor):
                self._before = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
                self._descriptor = descriptor
        except (OSError, ValueError, AttributeError):
            # Standard input was closed, or is no file.
            self._descriptor = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._descriptor = None

    def wait(self, seconds: float) -> str:
        """Return the keys that were pressed, as soon as one is, or an empty string when the time is over."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(self._descriptor, 64).decode(errors="replace")
        if not pressed:
            # The terminal has gone away; select would say at once that there is something to read.
            self._descriptor = None
        return pressed
