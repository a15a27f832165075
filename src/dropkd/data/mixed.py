"""Batches of labelled and unlabelled images together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.contracts import NO_LABEL
from dropkd.data import counters
from dropkd.data.batches import Batches, LoadedBatch, Renderer
from dropkd.data.loaders import Step, TrainLoader, reads_pinned
from dropkd.data.nearness import find_nearness
from dropkd.data.sampling import EpochOrder
from dropkd.data.split import Split
from dropkd.errors import ConfigError, DropKDError

__all__ = ["MixedLoader"]

# Keeps the order of unlabelled images apart from that of the labelled ones.
_ORDER = 5

# What a step shows of the labelled images, and of the unlabelled ones: of several passes where one ends in it.
_MixedStep = tuple[Step, list[Step]]


class MixedLoader:
    """Batches of random views in which unlabelled images follow the labelled ones of each view.

    An epoch is a pass over the labelled images. The unlabelled ones go round at a pace of their own, in a new order in
    each pass: step s of epoch e shows the images that come next after those of all steps before. The order of a pass is
    a function of (seed, pass), and a view's pixels of (seed, number, pass, view), where the numbers go on from those of
    the labelled images; so any step can be made again, without those before it.

    Args:
        labelled: loads the labelled images.
        unlabelled: loads the others, with the same views; its numbers must go on from those of ``labelled``. Its order
            and batch size are not used.
        ratio: unlabelled images for each labelled one of a step, rounded to whole images, at least one a step.
        workers: processes that decode images.
        device: where the network is; a GPU gets batches in memory that it reads from by itself.

    Raises:
        ConfigError: the ratio is not above 0.
    """

    def __init__(
        self,
        labelled: TrainLoader,
        unlabelled: TrainLoader,
        *,
        ratio: float,
        workers: int = 0,
        device: torch.device | None = None,
    ) -> None:
        if not (ratio > 0 and math.isfinite(ratio)):
            raise ConfigError(f"data.unlabelled_ratio must be a number above 0, got {ratio!r}.")
        self.labelled, self.unlabelled, self.ratio = labelled, unlabelled, ratio
        self._batches: Batches = Batches(
            _MixedRenderer(labelled.renderer, unlabelled.renderer, labelled.views),
            workers,
            pinned=reads_pinned(device),
        )
        pool, seed = unlabelled.split, counters.stream_key(unlabelled.seed, _ORDER)
        self._order = EpochOrder(pool.targets, "shuffle", seed, find_nearness(pool.store))
        counts = [len(step[1]) for step in labelled.plan(0)]
        # How many labelled and unlabelled images the steps of an epoch show.
        self.images_per_epoch = sum(counts), sum(map(self.count_unlabelled, counts))

    def __len__(self) -> int:
        return len(self.labelled)

    @property
    def split(self) -> Split:
        """The labelled images."""
        return self.labelled.split

    @property
    def images(self) -> int:
        """How many images there are, labelled and unlabelled."""
        return len(self.labelled.split) + len(self.unlabelled.split)

    @property
    def batch_size(self) -> int:
        """Labelled images a step."""
        return self.labelled.batch_size

    @property
    def distinct_views(self) -> int | None:
        """How many views there are of each image; None: no end of them."""
        return self.labelled.distinct_views

    def order_of(self, epoch: int) -> int:
        """Return the number of the epoch whose order and mixing an epoch has."""
        return self.labelled.order_of(epoch)

    def images_in_order(
        self, view: int, start: int, stop: int, batch_size: int, *, here: bool = False
    ) -> Iterator[LoadedBatch]:
        """Return a view of the images with these numbers; see :meth:`TrainLoader.images_in_order`."""
        own = len(self.labelled.split)
        if start < own:
            yield from self.labelled.images_in_order(view, start, min(stop, own), batch_size, here=here)
        if stop > own:
            yield from self.unlabelled.images_in_order(view, max(start, own) - own, stop - own, batch_size, here=here)

    def count_unlabelled(self, labelled: int) -> int:
        """Return how many unlabelled images stand beside so many labelled ones."""
        return max(1, math.floor(self.ratio * labelled + 0.5))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        """Return the steps of an epoch, from step ``start`` on. Take one epoch at a time."""
        if not 0 <= start <= len(self):
            raise ValueError(f"start must lie in 0..{len(self)}, got {start}")
        return self._batches.load(self._plan(epoch)[start:])

    def _plan(self, epoch: int) -> list[_MixedStep]:
        first = epoch * self.images_per_epoch[1]
        steps: list[_MixedStep] = []
        orders: dict[int, NDArray[np.int64]] = {}
        for own in self.labelled.plan(epoch):
            wanted = self.count_unlabelled(len(own[1]))
            steps.append((own, self._take(first, wanted, orders)))
            first += wanted
        return steps

    def _take(self, first: int, wanted: int, orders: dict[int, NDArray[np.int64]]) -> list[Step]:
        """Return the images from place ``first`` of the endless row of passes on, a part for each pass."""
        parts: list[Step] = []
        size, end = len(self.unlabelled.split), first + wanted
        while first < end:
            number, place = divmod(first, size)
            if number not in orders:
                orders[number] = self._order.draw(number)[0]
            index = orders[number][place : place + end - first]
            parts.append((self.unlabelled.view_of(number), index, np.zeros_like(index)))
            first += len(index)
        return parts


class _MixedRenderer(Renderer):
    """Makes the batch of a mixed step."""

    def __init__(self, labelled: Renderer, unlabelled: Renderer, views: int) -> None:
        self.labelled, self.unlabelled, self.views = labelled, unlabelled, views
        self.decodes = labelled.decodes or unlabelled.decodes

    def __getitem__(self, step: _MixedStep) -> LoadedBatch | DropKDError:
        own, others = step
        made = self.labelled[own]
        if isinstance(made, DropKDError):
            return made
        parts = [made]
        for other in others:
            rest = self.unlabelled[other]
            if isinstance(rest, DropKDError):
                return rest
            no_label = made.target.new_full((len(rest.index), *made.target.shape[1:]), NO_LABEL)
            parts.append(replace(rest, target=no_label))
        return LoadedBatch(
            self._join([part.images for part in parts]),
            self._join([part.target for part in parts]),
            self._join([part.index for part in parts]),
            self._join([part.view for part in parts]),
        )

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Return all rows, view by view."""
        views = zip(*(part.chunk(self.views) for part in parts), strict=True)
        return torch.cat([rows for view in views for rows in view])
