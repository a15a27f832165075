"""A run as it is seen on a terminal: bars with the time left, and a line for each epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from dropkd.cli.console import output
from dropkd.cli.tables import print_rates, say_time
from dropkd.engine.observer import Observer

if TYPE_CHECKING:
    from dropkd.engine.finetuning import RateRow

__all__ = ["Progress", "describe_epoch"]

# Without a terminal there is no bar; a line this often says that the run is alive.
_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class _Training:
    """A training that goes on: what it is called, and where and when it began to be watched."""

    title: str
    epochs: int
    first_step: int
    started: float


class Progress(Observer):
    """Shows a run while it goes on; use it in a ``with`` statement so that the bars end with it.

    Args:
        console: where to; by default the terminal.
    """

    def __init__(self, console: Console = output) -> None:
        self.console = console
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._phases: dict[str, tuple[float, int]] = {}
        self._trainings: dict[str | None, _Training] = {}
        self._run: str | None = None
        self._spoke = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def on_message(self, text: str) -> None:
        """Print a line."""
        self.console.print(Text(text), soft_wrap=True)

    def on_warning(self, text: str) -> None:
        """Print a line that stands out."""
        self.console.print(Text.assemble(("warning: ", "bold yellow"), text), soft_wrap=True)

    def on_run(self, *, name: str, number: int, total: int) -> None:
        """Note whose events these are: of a group's runs several may take turns."""
        self._run = name

    def on_rates(self, rows: Sequence[RateRow], by: str) -> None:
        """Print what is trained when, and at which rate."""
        print_rates(rows, by)

    def on_start(self, *, title: str, epochs: int, steps_per_epoch: int, first_step: int) -> None:
        """Open the bar of a training."""
        self._spoke = time.monotonic()
        training = _Training(self._run or title, epochs, first_step, self._spoke)
        self._trainings[self._run] = training
        self._show(f"training {training.title}", training.title, first_step, epochs * steps_per_epoch)

    def on_step(self, *, epoch: int, step: int, total_steps: int, loss: float, images_per_second: float) -> None:
        """Move the bar, or without a terminal print a line now and then."""
        training = self._trainings[self._run]
        detail = f"epoch {epoch + 1}/{training.epochs}  loss {loss:.3f}  {images_per_second:,.0f} images/s"
        self._show(f"training {training.title}", training.title, step, total_steps, detail)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._spoke = now
            left = (now - training.started) / max(1, step - training.first_step) * (total_steps - step)
            self.console.print(f"{training.title}  step {step}/{total_steps}  {detail}  {say_time(left)} left")

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Move the bar of something that is not training, or without a terminal print a line now and then."""
        self._show(name, name, done, total)
        now = time.monotonic()
        started, first = self._phases.setdefault(name, (now, done))
        if not self.console.is_terminal and now - max(self._spoke, started) >= _SECONDS_BETWEEN_LINES:
            self._spoke = now
            left = (now - started) / max(1, done - first) * (total - done)
            self.console.print(f"{name}  {done:,}/{total:,}  {say_time(left)} left")
        if done >= total:
            del self._phases[name]

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Print an epoch's figures."""
        self._spoke = time.monotonic()
        training = self._trainings[self._run]
        self.console.print(describe_epoch(record, training.title, training.epochs), soft_wrap=True)

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Take the training's bar away."""
        training = self._trainings.pop(self._run, None)
        if training is not None:
            self._hide(f"training {training.title}")

    def _show(self, key: str, text: str, done: int, total: int, detail: str = "") -> None:
        if self._bars.disable:
            return
        # Of one thing there is no telling how far it is: the bar moves without a measure.
        measure, count = (None, "") if total <= 1 else (total, f"{done:,}/{total:,}")
        detail = f"left  {detail}" if measure else ""
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(text, total=measure, count=count, detail=detail)
        self._bars.update(self._tasks[key], description=text, total=measure, completed=done, count=count, detail=detail)
        if done >= total:
            self._hide(key)

    def _hide(self, key: str) -> None:
        if key in self._tasks:
            self._bars.remove_task(self._tasks.pop(key))


def describe_epoch(record: Mapping[str, Any], title: str, epochs: int) -> Text:
    """Return a line for an epoch: accuracies, UAR where classes are uneven, agreement, loss and each term's share."""
    train, val = record["train"], record["val"]
    width = len(str(epochs))
    parts = [
        f"{title}  epoch {record['epoch'] + 1:>{width}}/{epochs}{' (probe)' if record.get('probe') else ''}",
        f"loss {train['loss']:.3f}",
        f"train {_describe_share(train, 'exact_match')}",
    ]
    if val is not None:
        uar = f", UAR {100 * val['uar']:5.2f} %" if record.get("imbalanced") else ""
        parts.append(f"val {_describe_share(val, 'map')}{uar}{'*' if record.get('best') else ' '}")
    if val is not None and val.get("agreement") is not None:
        parts.append(f"agrees with teacher {100 * val['agreement']:5.2f} %")
    shares = {name: term.get("share") for name, term in train.get("terms", {}).items()}
    if len(shares) > 1:
        parts.append("loss is " + ", ".join(f"{100 * (share or 0):.0f} % {name}" for name, share in shares.items()))
    parts.append(say_time(record["seconds"]))
    return Text("  ".join(parts), style="bold" if record.get("best") else "")


def _describe_share(scores: Mapping[str, Any], of_labels: str) -> str:
    """Return the accuracy, or where images have several labels the figure that stands for it, with its name."""
    if of_labels not in scores:
        return f"{100 * scores['accuracy']:5.2f} %"
    return f"{'mAP' if of_labels == 'map' else 'all right'} {100 * scores[of_labels]:5.2f} %"
