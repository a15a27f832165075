"""Batches as they come from the loaders, made here or by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dropkd.data.prefetching import prefetch
from dropkd.errors import DropKDError

__all__ = ["Batches", "LoadedBatch", "Renderer"]


@dataclass(frozen=True)
class LoadedBatch:
    """A batch as it comes from the loaders.

    Args:
        images: (V * B, 3, H, W) uint8 RGB, the views one after another, in channels-last memory order.
        target: (V * B,) int64, the classes, or (V * B, K) float32 of 0 and 1 where images have several labels.
        index: (V * B,) int64, the numbers of the images in their split.
        view: (V * B,) int64, the number of the random view: the epoch, where each has views of its own.
    """

    images: Tensor
    target: Tensor
    index: Tensor
    view: Tensor

    def pin_memory(self) -> LoadedBatch:
        """Return the batch in memory that a GPU reads from by itself; PyTorch's loader calls it by this name."""
        return LoadedBatch(*(tensor.pin_memory() for tensor in (self.images, self.target, self.index, self.view)))


class Renderer(Dataset["LoadedBatch | DropKDError"]):
    """Makes the batch of a step, here or in a worker.

    ``decodes`` says whether it reads images from files, ``on_device`` whether it makes them where the network is.
    """

    decodes: bool
    on_device: bool = False


class _Steps:
    """The sampler of a DataLoader: the steps that were last asked for."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class Batches:
    """Loads steps ahead of their use: by worker processes where images are decoded from files, else by a thread.

    Args:
        renderer: makes them.
        workers: processes that decode images.
        keep_workers: whether they stay for the next steps.
        pinned: whether batches come in memory that a GPU reads from while others are made.
    """

    def __init__(self, renderer: Renderer, workers: int, keep_workers: bool = True, pinned: bool = False) -> None:
        self.renderer, self.pinned = renderer, pinned
        self.sampler = _Steps()
        self.loader: DataLoader[LoadedBatch | DropKDError] | None = None
        if workers and renderer.decodes:
            self.loader = DataLoader(
                renderer,
                batch_size=None,
                sampler=self.sampler,
                num_workers=workers,
                persistent_workers=keep_workers,
                pin_memory=pinned,
                worker_init_fn=_ignore_interrupts,
                # Without one of its own, the loader would draw from the global generator.
                generator=torch.Generator(),
            )

    def load(self, steps: list[Any], *, here: bool = False) -> Iterator[LoadedBatch]:
        """Yield the batches of these steps.

        Args:
            steps: what is to be made.
            here: make them in this thread, as while others are being made by the workers.

        Raises:
            DropKDError: an image can't be read any more.
        """
        if not steps:
            return
        if self.loader is not None and not here:
            self.sampler.steps = steps
        for batch in self._make(steps, here):
            if isinstance(batch, DropKDError):
                try:
                    raise batch
                finally:
                    # Error, traceback and frame would hold each other, and with them the workers.
                    del batch
            yield batch

    def _make(self, steps: list[Any], here: bool) -> Iterable[LoadedBatch | DropKDError]:
        if self.loader is not None and not here:
            return self.loader
        made = map(self.renderer.__getitem__, steps)
        # What a device makes runs ahead by itself.
        if here or self.renderer.on_device or len(steps) < 2:
            return made
        return prefetch(map(_pin, made) if self.pinned else made)


def _pin(batch: LoadedBatch | DropKDError) -> LoadedBatch | DropKDError:
    return batch if isinstance(batch, DropKDError) else batch.pin_memory()


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process, which still needs its workers to end the step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
