"""Several trainings from the same batches: each is decoded and changed once, and the teacher is asked about it once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dropkd.contracts import Outputs
from dropkd.data import LoadedBatch, MixedLoader, TrainLoader
from dropkd.engine.checkpoint import random_state, restore_random_state
from dropkd.engine.running import Steps
from dropkd.engine.training import Fed, Training

__all__ = ["Turn", "share_batches", "take_turns"]


@dataclass
class Turn:
    """A training that takes turns with others.

    Args:
        training: its state.
        steps: one at each turn.
        random: the state of the random generators after its last turn; None before the first.
    """

    training: Training
    steps: Steps
    random: dict[str, Any] | None = None

    @property
    def place(self) -> tuple[int, int]:
        """How far it is: epochs, and steps of the one in progress."""
        return self.training.position.epoch, self.training.position.step


def take_turns(
    turns: Sequence[Turn],
    *,
    on_end: Callable[[Turn, dict[str, Any]], None],
    on_error: Callable[[Turn, Exception], None],
) -> None:
    """Train all to their end, the one that is furthest behind first.

    Each finds the random generators as it left them, so its numbers are those that it has alone.

    Args:
        turns: the trainings.
        on_end: is told of each that is done, with its final numbers.
        on_error: is told of each that ended otherwise; the others go on.
    """
    going = list(turns)
    while going:
        turn = min(going, key=lambda turn: turn.place)
        if turn.random is not None:
            restore_random_state(turn.random)
        began = time.monotonic()
        try:
            next(turn.steps)
        except StopIteration as end:
            going.remove(turn)
            on_end(turn, end.value)
        except Exception as error:  # whatever it is, it is that one's own
            going.remove(turn)
            on_error(turn, error)
        else:
            # The last one left has the generators to itself.
            turn.random = random_state() if len(going) > 1 else None
        for other in going:
            if other is not turn:
                other.training.let_pass(time.monotonic() - began)


def share_batches(trainings: Sequence[Training]) -> None:
    """Let trainings that see the same batches take them from one loader, and the teacher's answers with them."""
    if len(trainings) < 2:
        return
    stream, feed = _Stream(trainings[0].train_loader), _Feed(trainings)
    for training in trainings:
        training.batches = stream.epoch
        training.feed = partial(feed.give, training)


class _Stream:
    """Gives the same batches to all who ask, as long as none is more than one behind."""

    def __init__(self, loader: TrainLoader | MixedLoader) -> None:
        self.loader = loader
        self._at: tuple[int, int] | None = None
        self._batch: LoadedBatch | None = None
        self._rest: Iterator[LoadedBatch] = iter(())

    def epoch(self, epoch: int, start: int) -> Iterator[LoadedBatch]:
        """Return the steps of an epoch, from step ``start`` on."""
        for step in range(start, len(self.loader)):
            yield self._get(epoch, step)

    def _get(self, epoch: int, step: int) -> LoadedBatch:
        if self._batch is None or self._at != (epoch, step):
            follows = self._at == (epoch, step - 1)
            # If reading fails, the next one who asks finds nothing half read.
            self._at = self._batch = None
            if not follows:
                self._rest = self.loader.epoch(epoch, step)
            self._batch, self._at = next(self._rest), (epoch, step)
        return self._batch


class _Feed:
    """Puts a batch on the device, mixes it and asks the teacher about it, once for all."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.reads = frozenset[str]().union(*(t.distiller.method.teacher_reads for t in trainings))
        self._batch: LoadedBatch | None = None
        self._fed: Fed | None = None
        self._answers: dict[object, Outputs | None] = {}

    def give(self, training: Training, batch: LoadedBatch, step: int) -> Fed:
        """Return the ``step``-th batch of an epoch as this training gets it."""
        if self._fed is None or batch is not self._batch:
            self._batch, self._fed, self._answers = batch, training.place(batch), {}
        return replace(self._fed, answer=self._find_answer(training, batch, step, self._fed))

    def _find_answer(self, training: Training, batch: LoadedBatch, step: int, fed: Fed) -> Outputs | None:
        if not training.distiller.method.teacher_reads:
            return None
        cached = training.cached
        if cached is not None and not cached.is_lost:
            kept = self._remember(cached.identity, lambda: training.recall(batch, step))
            if kept is not None:
                return kept
        return self._remember("live", lambda: self._ask(training, fed))

    def _remember(self, key: object, ask: Callable[[], Outputs | None]) -> Outputs | None:
        if key not in self._answers:
            self._answers[key] = ask()
        return self._answers[key]

    def _ask(self, training: Training, fed: Fed) -> Outputs | None:
        with training.fabric.autocast():
            return training.distiller.ask_teacher(fed.images, self.reads)
