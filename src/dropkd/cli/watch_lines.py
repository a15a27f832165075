"""A run that is followed, as lines: what it is at, each epoch, warnings, and a sign of life now and then."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from dropkd.cli.progress import describe_epoch
from dropkd.report.wording import count, decimal, duration
from dropkd.watching import GroupView, RunView, State
from dropkd.watching.terminal_text import ascii_text, plain_text, state_style

__all__ = ["WatchLines"]

_SECONDS_BETWEEN_LINES = 30.0


class WatchLines:
    """Prints what is new since it was asked before.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._states: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._warned: set[tuple[str, str]] = set()
        self._spoke = time.monotonic()

    def tell(self, view: RunView | GroupView) -> None:
        """Print the news of a run, or of each run of a group."""
        if isinstance(view, GroupView):
            for member in view.members:
                self._tell_run(member.name, member.run, member.state, member.reason)
            return
        self._tell_run(view.record.name, view, view.state, "")

    def _tell_run(self, name: str, view: RunView, state: State, failure: str) -> None:
        if view.state is State.BASELINE and view.baseline is not None:
            self._tell_state(name, state, view.words)
            self._tell_run(f"{name}/baseline", view.baseline, view.baseline.state, "")
            return
        if not state.has_ended:
            self._tell_state(name, state, view.words)
        self._tell_epochs(name, view)
        for warning in view.warnings:
            if (name, warning) not in self._warned:
                self._warned.add((name, warning))
                self._print(Text.assemble(("warning: ", "bold yellow"), plain_text(f"{name}: {warning}")))
        if state.has_ended:
            self._tell_state(name, state, failure or view.words)
        elif time.monotonic() - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._tell_step(name, view)

    def _tell_state(self, name: str, state: State, words: str) -> None:
        if self._states.get(name) == state:
            return
        self._states[name] = state
        told = Text.assemble((f"{plain_text(name)}  ", "bold"), (str(state), state_style(state)))
        self._print(told.append(f"  {plain_text(words)}") if words else told)

    def _tell_epochs(self, name: str, view: RunView) -> None:
        known = self._epochs.get(name, -1)
        numbers = [event["epoch"] for event in view.epoch_events]
        # A run that was resumed from further back says its epochs anew.
        known = min(known, max(numbers, default=-1))
        for event in view.epoch_events:
            if event["epoch"] > known:
                try:
                    self._print(describe_epoch(event, plain_text(name), view.epochs or event["epoch"] + 1))
                except (KeyError, TypeError, ValueError, AttributeError):
                    self._print(Text(f"{plain_text(name)}  epoch {event['epoch'] + 1}: its line can't be read"))
        self._epochs[name] = max(numbers, default=known)

    def _tell_step(self, name: str, view: RunView) -> None:
        if view.state is not State.RUNNING or not view.total_steps:
            return
        left = "" if view.seconds_left is None else f"  {duration(view.seconds_left)} left"
        loss = "" if view.loss is None else f"  loss {decimal(view.loss)}"
        self._print(Text(f"{plain_text(name)}  step {count(view.done_steps)}/{count(view.total_steps)}{loss}{left}"))

    def _print(self, text: Text) -> None:
        self._spoke = time.monotonic()
        text = Text(ascii_text(text.plain)) if self.console.options.ascii_only else text
        self.console.print(text, soft_wrap=True)
