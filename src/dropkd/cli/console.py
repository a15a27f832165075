"""The two consoles that everything is printed to."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["errors", "output"]

# Piped output has no width of its own; rich would assume 80 columns and fold tables that nobody looks at.
_PIPED_WIDTH = 140


def _open_console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPED_WIDTH)


output = _open_console(stderr=False)
errors = _open_console(stderr=True)
