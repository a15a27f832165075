"""Batches of training views and of evaluation frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dropkd.data.augment import Augmentation
from dropkd.data.batches import Batches, LoadedBatch, Renderer
from dropkd.data.device_views import DeviceViews
from dropkd.data.geometry import Native, fit_frame
from dropkd.data.jpegs import EVALUATION_PIXELS, TRAINING_PIXELS
from dropkd.data.labels import Targets
from dropkd.data.nearness import find_nearness
from dropkd.data.reading import PACK_BYTES
from dropkd.data.recipes import Recipe
from dropkd.data.sampling import EpochOrder
from dropkd.data.shifting import PackedRows
from dropkd.data.sources import KeptImages, StoredImages
from dropkd.data.split import Pack, Split
from dropkd.errors import ConfigError, DataError, DropKDError

__all__ = ["EvalLoader", "FrameChange", "Step", "TrainLoader", "choose_source", "reads_pinned"]

# An epoch, the numbers of the images of one step, and how often each was shown before in this epoch.
Step = tuple[int, NDArray[np.int64], NDArray[np.int64]]
# Takes a frame and the number of its image.
FrameChange = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]

Source = StoredImages | KeptImages | Pack


class TrainLoader:
    """Batches of random views, an epoch at a time.

    The order of an epoch is a function of (seed, epoch) and a view's pixels of (seed, index, epoch, view)
    alone: they do not depend on workers, batch size or what was loaded before, and loading touches no global
    random state. An image that is shown again in an epoch has new views there, functions of the same and of how often
    it was shown before.

    Args:
        split: the images.
        size: height and width of the views.
        recipe: the random changes.
        batch_size: images a step; the last step of an epoch may have fewer.
        seed: any whole number.
        workers: processes that decode images; 0 decodes in this one. Packed images need none and get none.
        views: the kinds of view of each image: ``standard``, ``mirrored``, ``strong`` (see
            :class:`Augmentation`).
        drop_last: leave out a last step that is not full.
        sampling: ``shuffle``, ``balanced`` or ``square-root``; see :class:`~dropkd.data.sampling.EpochOrder`.
        first: the number of the first image, for a split whose numbers go on from those of another one.
        distinct_views: how many views there are of each image: an epoch shows the view of its number modulo this one.
            None: each epoch has its own.
        repeats_epochs: an epoch that shows the views of an earlier one has its order too.
        view_seed: seed of the views' pixels; None: that of the order too.
        device: where the network is. On a GPU, packed images lie there and are moved, mirrored and erased there; other
            batches come in memory that it reads from by itself. None: they are made in memory.

    Raises:
        ConfigError: an unknown view or sampling, or a batch size out of range.
        DataError: a file can't be read any more (while iterating).
    """

    def __init__(
        self,
        split: Split,
        *,
        size: tuple[int, int],
        recipe: Recipe,
        batch_size: int,
        seed: int,
        workers: int = 0,
        views: tuple[str, ...] = ("standard",),
        drop_last: bool = False,
        sampling: str = "shuffle",
        first: int = 0,
        distinct_views: int | None = None,
        repeats_epochs: bool = False,
        view_seed: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        _check_sizes(split, size, batch_size, workers)
        if drop_last and batch_size > len(split):
            raise ConfigError(
                f"batch_size {batch_size} is larger than the {len(split)} images of {split.name!r}, "
                "which leaves no full step."
            )
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.order = EpochOrder(split.targets, sampling, seed, find_nearness(split.store))
        self.distinct_views = distinct_views
        self.repeats_epochs = repeats_epochs
        self.view_seed = seed if view_seed is None else view_seed
        self.views = len(views)
        source = choose_source(split, size if recipe.starts_with_frame else None, recipe.interpolation)
        augmentation = Augmentation(recipe, size, self.view_seed, views)
        self.renderer = _Renderer(source, split.targets, augmentation, first, device)
        self._batches = Batches(self.renderer, workers, pinned=reads_pinned(device))

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        """Return the steps of an epoch, from step ``start`` on. Take one epoch at a time."""
        return self.steps(epoch, start, len(self))

    def steps(self, epoch: int, start: int, stop: int, *, here: bool = False) -> Iterator[LoadedBatch]:
        """Return the steps of an epoch from ``start`` to before ``stop``; see :meth:`images_in_order` for ``here``."""
        if not 0 <= start <= len(self):
            raise ValueError(f"start must lie in 0..{len(self)}, got {start}")
        return self._batches.load(self.plan(epoch)[start:stop], here=here)

    def plan(self, epoch: int) -> list[Step]:
        """Return what each step of an epoch shows."""
        index, repeat = self.order.draw(self.order_of(epoch))
        steps = zip(_cut_steps(index, self.batch_size), _cut_steps(repeat, self.batch_size), strict=True)
        view = self.view_of(epoch)
        return [(view, i, r) for i, r in steps][: len(self)]

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.split)

    def order_of(self, epoch: int) -> int:
        """Return the number of the epoch whose order and mixing an epoch has."""
        return self.view_of(epoch) if self.repeats_epochs else epoch

    def view_of(self, epoch: int) -> int:
        """Return the number of the view that an epoch shows."""
        return epoch if self.distinct_views is None else epoch % self.distinct_views

    def images_in_order(
        self, view: int, start: int, stop: int, batch_size: int, *, here: bool = False
    ) -> Iterator[LoadedBatch]:
        """Return a view of the images ``start`` to ``stop`` of the split, in its order.

        Where an epoch is being read meanwhile, ``here`` makes them in this process.
        """
        index = np.arange(start, stop)
        steps = [(view, i, np.zeros_like(i)) for i in _cut_steps(index, batch_size)]
        return self._batches.load(steps, here=here)


class EvalLoader:
    """Batches of centre frames, in the order of the split: the largest centred part of each image, resized.

    Args:
        split: the images.
        size: height and width of the frames.
        batch_size: images a step; the last step may have fewer.
        workers: processes that decode images; 0 decodes in this one. Packed images need none and get none.
        change: what is done to each frame, by its pixels (H, W, 3) and the number of its image.
        device: where the network is; a GPU gets batches in memory that it reads from by itself.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: tuple[int, int],
        batch_size: int,
        workers: int = 0,
        change: FrameChange | None = None,
        device: torch.device | None = None,
    ) -> None:
        _check_sizes(split, size, batch_size, workers)
        self.split = split
        self.batch_size = batch_size
        renderer = _Renderer(choose_source(split, size, pixels=EVALUATION_PIXELS), split.targets, _Frames(size, change))
        self._batches = Batches(renderer, workers, keep_workers=False, pinned=reads_pinned(device))

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[LoadedBatch]:
        steps = _cut_steps(np.arange(len(self.split)), self.batch_size)
        return self._batches.load([(0, s, np.zeros_like(s)) for s in steps])


@dataclass(frozen=True)
class _Frames:
    """Renders centre frames; takes the place of :class:`Augmentation` in evaluation."""

    size: tuple[int, int]
    change: FrameChange | None = None

    def render(
        self, images: Iterable[Native] | PackedRows, index: NDArray[np.int64], epoch: int, repeat: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        out = np.empty((1, len(index), *self.size, 3), np.uint8)
        if self.change is None and isinstance(images, PackedRows) and images.array.shape[1:3] == self.size:
            np.take(images.array, images.rows, axis=0, out=out[0])
            return out
        for row, image in enumerate(images):
            frame = fit_frame(image, self.size)
            out[0, row] = frame if self.change is None else self.change(frame, int(index[row]))
        return out


class _Renderer(Renderer):
    """Makes the batch of a step of one split."""

    def __init__(
        self,
        source: Source,
        targets: Targets,
        augmentation: Augmentation | _Frames,
        first: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.source = source
        self.targets = targets
        self.augmentation = augmentation
        self.first = first
        self.decodes = not isinstance(source, Pack)
        self.device_views = _find_device_views(source, augmentation, device)
        self.on_device = self.device_views is not None

    def __getitem__(self, step: Step) -> LoadedBatch | DropKDError:
        epoch, index, repeat = step
        numbers = index + self.first
        try:
            if self.device_views is not None:
                pixels = self.device_views.render(index, numbers, epoch, repeat)
            else:
                made = self.augmentation.render(self._choose_images(index), numbers, epoch, repeat)
                pixels = torch.from_numpy(made)
        except DropKDError as error:
            # Handed over as a value: raised in a worker, its text would come back wrapped in a stack trace.
            return error
        views = len(pixels)
        images = pixels.flatten(0, 1).permute(0, 3, 1, 2)
        target = torch.cat([torch.from_numpy(self.targets[index])] * views)
        rows = torch.from_numpy(numbers).repeat(views)
        return LoadedBatch(images, target, rows, torch.full_like(rows, epoch))

    def _choose_images(self, index: NDArray[np.int64]) -> Iterable[Native] | PackedRows:
        if isinstance(self.source, Pack):
            return PackedRows(self.source.array, self.source.rows[index])
        return (self.source[i] for i in index.tolist())


def reads_pinned(device: torch.device | None) -> bool:
    """Whether a device reads from pinned memory while others work."""
    return device is not None and device.type == "cuda"


def _find_device_views(
    source: Source, augmentation: Augmentation | _Frames, device: torch.device | None
) -> DeviceViews | None:
    if device is None or not isinstance(source, Pack) or not isinstance(augmentation, Augmentation):
        return None
    return DeviceViews(source, augmentation, device) if DeviceViews.can_make(source, augmentation) else None


def choose_source(
    split: Split,
    frame: tuple[int, int] | None = None,
    interpolation: str = "bilinear",
    *,
    pixels: int = TRAINING_PIXELS,
) -> Source:
    """Return the packed images, at the frame's size already where one is given and memory allows.

    Those that are not packed are decoded as finely as ``pixels`` asks for, see :class:`Jpeg`: each time, or once where
    their pixels are kept on disk.
    """
    if split.pack is None:
        stored = StoredImages(split.images, split.paths, pixels)
        return stored if split.kept is None else KeptImages(stored, split.kept, split.contents)
    native = split.pack.array.shape[1:3]
    if frame is None or frame == native or len(split) * frame[0] * frame[1] * 3 > PACK_BYTES:
        return split.pack
    array = np.empty((len(split), *frame, 3), np.uint8)
    for i in range(len(split)):
        array[i] = fit_frame(split.pack[i], frame, interpolation)
    return Pack(array, np.arange(len(split)))


def _cut_steps(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def _check_sizes(split: Split, size: tuple[int, int], batch_size: int, workers: int) -> None:
    if not len(split):
        raise DataError(f"the split {split.name!r} has no images.")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be 1 or more, got {batch_size!r}.")
    if workers < 0:
        raise ConfigError(f"workers must be 0 or more, got {workers!r}.")
    if min(size) < 1:
        raise ConfigError(f"the image size must be 1 pixel or more each way, got {size!r}.")
