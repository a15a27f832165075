"""Which row of a teacher's cache belongs to which picture that training shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.data import LoadedBatch, MixedLoader, TrainLoader
from dropkd.engine.mixing import mix_images

__all__ = ["Rows", "RowsByImage", "RowsByPosition", "choose_rows"]


class Rows(Protocol):
    """How the answers of one view are numbered."""

    count: int
    """Answers of a view."""
    step: int
    """Rows that are computed at once."""
    per_image: int
    """Rows of an image in one view."""

    def pictures(self, view: int, start: int, stop: int, *, here: bool = False) -> Iterator[Tensor]:
        """Return what the teacher is shown for rows ``start`` to ``stop``, some at a time, uint8 or in 0..1.

        Each tensor has the first kind of view of all its images first, then the second. Where an epoch is being read
        meanwhile, ``here`` makes them in this process.
        """

    def find(self, batch: LoadedBatch, step: int) -> NDArray[np.int64]:
        """Return the rows of a batch that is the ``step``-th of its epoch."""

    def fields(self) -> dict[str, Any]:
        """Return what of the order decides an answer, as plain values."""


class RowsByImage:
    """A row for each kind of view of each image, in the order of the split: the same for every order of training.

    Args:
        loader: of the training images, unlabelled ones among them.
        kinds: kinds of view of an image.
    """

    def __init__(self, loader: TrainLoader | MixedLoader, kinds: int) -> None:
        self.loader, self.kinds, self.per_image = loader, kinds, kinds
        self.count, self.step = loader.images * kinds, kinds

    def pictures(self, view: int, start: int, stop: int, *, here: bool = False) -> Iterator[Tensor]:
        """Return the views of these images."""
        first, last = start // self.kinds, stop // self.kinds
        for batch in self.loader.images_in_order(view, first, last, self.loader.batch_size, here=here):
            yield batch.images

    def find(self, batch: LoadedBatch, step: int) -> NDArray[np.int64]:
        """Return the rows by the images' numbers."""
        kind = np.repeat(np.arange(self.kinds), len(batch.index) // self.kinds)
        return batch.index.numpy() * self.kinds + kind

    def fields(self) -> dict[str, Any]:
        """Return nothing: an image's view is the same in any order."""
        return {}


class RowsByPosition:
    """A row for each place of an epoch, for pictures that depend on what else is in the batch or come several times.

    Args:
        loader: of the training images, whose epochs repeat.
        kinds: kinds of view of an image.
        mixup: parameter of mixup; 0 is off.
        cutmix: parameter of CutMix; 0 is off.
        seed: of the run.
        sampling: how the order is drawn.
    """

    def __init__(
        self, loader: TrainLoader, kinds: int, *, mixup: float, cutmix: float, seed: int, sampling: str
    ) -> None:
        self.loader, self.kinds, self.per_image = loader, kinds, kinds
        self.mixup, self.cutmix, self.seed, self.sampling = mixup, cutmix, seed, sampling
        self.step = loader.batch_size * kinds
        images = len(loader.split) - (len(loader.split) % loader.batch_size if loader.drop_last else 0)
        self.count = images * kinds

    def pictures(self, view: int, start: int, stop: int, *, here: bool = False) -> Iterator[Tensor]:
        """Return the batches of the epoch, mixed as training mixes them."""
        first, last = start // self.step, -(-stop // self.step)
        shares = {"mixup": self.mixup, "cutmix": self.cutmix}
        for step, batch in enumerate(self.loader.steps(view, first, last, here=here), first):
            yield mix_images(batch.images, batch.target, **shares, seed=self.seed, epoch=view, step=step)

    def find(self, batch: LoadedBatch, step: int) -> NDArray[np.int64]:
        """Return the rows by the batch's place in the epoch."""
        images = len(batch.index) // self.kinds
        within = np.arange(images)[None, :] * self.kinds + np.arange(self.kinds)[:, None]
        return step * self.step + within.reshape(-1)

    def fields(self) -> dict[str, Any]:
        """Return all that decides which pictures make up a batch."""
        return {
            "seed": self.seed,
            "sampling": self.sampling,
            "batch_size": self.loader.batch_size,
            "drop_last": self.loader.drop_last,
            "mixup": self.mixup,
            "cutmix": self.cutmix,
        }


def choose_rows(
    loader: TrainLoader | MixedLoader, kinds: int, *, mixup: float, cutmix: float, seed: int, sampling: str
) -> Rows | None:
    """Return the numbering that fits a training; None where a picture is never shown twice alike."""
    by_image = not (mixup or cutmix or sampling != "shuffle")
    if isinstance(loader, MixedLoader):
        # Unlabelled images go round at a pace of their own: without a number of views each pass has new ones, and
        # what an image is mixed with never comes again.
        return RowsByImage(loader, kinds) if by_image and loader.distinct_views is not None else None
    if by_image:
        return RowsByImage(loader, kinds)
    return RowsByPosition(loader, kinds, mixup=mixup, cutmix=cutmix, seed=seed, sampling=sampling)


def by_image(values: Tensor, kinds: int) -> Tensor:
    """Return rows of all images in one kind of view after another with all kinds of an image together.

    Example:
        >>> by_image(torch.tensor([[1], [2], [3], [10], [20], [30]]), kinds=2).flatten().tolist()
        [1, 10, 2, 20, 3, 30]
    """
    images = len(values) // kinds
    order = torch.arange(kinds * images, device=values.device).view(kinds, images).T.reshape(-1)
    return values[order]
