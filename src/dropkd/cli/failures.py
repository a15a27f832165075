"""What is printed when a command does not end well, and the exit code that goes with it."""

from __future__ import annotations

import traceback

from rich.text import Text

from dropkd.cli.console import errors
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError, DropKDError

__all__ = ["explain_bug", "explain_interrupt", "explain_mistake", "explain_stop"]


def explain_mistake(error: DropKDError) -> int:
    """Print something that the user can mend; exit code 2."""
    # A configuration names all its mistakes at once, one a line; other texts of several lines are one mistake.
    mistakes = str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]
    for mistake in mistakes:
        _print_error(mistake)
    return 2


def explain_stop(stop: Interrupted) -> int:
    """Print where a run stopped and how to go on; the exit code of a process that this signal ended."""
    errors.print(Text(str(stop), style="bold yellow"), soft_wrap=True)
    return 128 + stop.signal_number


def explain_interrupt() -> int:
    """Say that Ctrl-C was heard where nothing is in training; exit code 130."""
    errors.print(Text("Stopped.", style="bold yellow"), soft_wrap=True)
    return 130


def explain_bug() -> int:
    """Print the traceback of the exception that is being handled; exit code 1."""
    errors.print(Text(traceback.format_exc().rstrip()), soft_wrap=True)
    _print_error("this is a bug in dropkd, not a mistake of yours. Please report it with the text above.")
    return 1


def _print_error(text: str) -> None:
    errors.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)
