"""What the engine tells whoever is watching: a progress bar, a notebook, a test, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropkd.engine.finetuning import RateRow

__all__ = ["Observer"]


class Observer:
    """Hears what happens in a run and does nothing. Subclass it and override what you want to hear."""

    def on_message(self, text: str) -> None:
        """Hear one line meant for the user."""

    def on_warning(self, text: str) -> None:
        """Hear one line that the user should not miss."""

    def on_run(self, *, name: str, number: int, total: int) -> None:
        """Hear that what comes next is of this run of a group, the ``number``-th of ``total``."""

    def on_rates(self, rows: Sequence[RateRow], by: str) -> None:
        """Hear what is trained when and at which rate, where that is not all alike, and what orders the layers."""

    def on_start(self, *, title: str, epochs: int, steps_per_epoch: int, first_step: int) -> None:
        """Hear that training begins, or goes on from ``first_step`` of ``epochs * steps_per_epoch``."""

    def on_step(self, *, epoch: int, step: int, total_steps: int, loss: float, images_per_second: float) -> None:
        """Hear that ``step`` of ``total_steps`` is done (counted over the whole run)."""

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Hear how far a phase outside training is, in images (the teacher's check, an evaluation)."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Hear what an epoch brought: the ``epoch`` line of ``metrics.jsonl``."""

    def on_end(self, metrics: dict[str, Any]) -> None:
        """Hear the final numbers: the content of ``metrics.json``."""
