"""Tells an observer of several runs which one it hears of, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dropkd.engine.observer import Observer

if TYPE_CHECKING:
    from dropkd.engine.finetuning import RateRow

__all__ = ["GroupObserver"]


class GroupObserver(Observer):
    """Passes on what the runs of a group say while they are made ready.

    A line that several runs would say alike, as on the data that they share, is passed on once.

    Args:
        observer: who is told.
        names: of the runs, in their order.
    """

    def __init__(self, observer: Observer, names: Sequence[str]) -> None:
        self.observer, self.names = observer, list(names)
        self._said: set[str] = set()
        self._current: str | None = None

    def turn_to(self, name: str) -> None:
        """Say which run the next events are of."""
        if name != self._current:
            self._current = name
            self.observer.on_run(name=name, number=self.names.index(name) + 1, total=len(self.names))

    def of_run(self, name: str) -> Observer:
        """Return an observer for the training of one run, which may take turns with others."""
        return _RunObserver(self, name)

    def on_message(self, text: str) -> None:
        """Pass a line on, the first time."""
        if text not in self._said:
            self._said.add(text)
            self.observer.on_message(text)

    def on_warning(self, text: str) -> None:
        """Pass a line on, the first time."""
        if text not in self._said:
            self._said.add(text)
            self.observer.on_warning(text)

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Pass it on."""
        self.observer.on_phase(name, done, total)


class _RunObserver(Observer):
    """Says of each event whose it is."""

    def __init__(self, group: GroupObserver, name: str) -> None:
        self.group, self.name = group, name

    def on_message(self, text: str) -> None:
        self.group.observer.on_message(f"{self.name}: {text}")

    def on_warning(self, text: str) -> None:
        self.group.observer.on_warning(f"{self.name}: {text}")

    def on_rates(self, rows: Sequence[RateRow], by: str) -> None:
        self._find().on_rates(rows, by)

    def on_start(self, *, title: str, epochs: int, steps_per_epoch: int, first_step: int) -> None:
        self._find().on_start(title=title, epochs=epochs, steps_per_epoch=steps_per_epoch, first_step=first_step)

    def on_step(self, *, epoch: int, step: int, total_steps: int, loss: float, images_per_second: float) -> None:
        self._find().on_step(
            epoch=epoch, step=step, total_steps=total_steps, loss=loss, images_per_second=images_per_second
        )

    def on_phase(self, name: str, done: int, total: int) -> None:
        self._find().on_phase(name, done, total)

    def on_epoch(self, record: dict[str, Any]) -> None:
        self._find().on_epoch(record)

    def on_end(self, metrics: dict[str, Any]) -> None:
        self._find().on_end(metrics)

    def _find(self) -> Observer:
        self.group.turn_to(self.name)
        return self.group.observer
