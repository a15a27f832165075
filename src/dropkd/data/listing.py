"""The images of a data set with split and class, as its files tell them, before any image is looked at."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.labels import Targets, count_labels, mark_labels
from dropkd.data.reading import Readings
from dropkd.data.stores import FileStore, ImageStore, name_below, take_rows
from dropkd.data.wording import enumerate_some
from dropkd.errors import DataError

__all__ = ["SPLITS", "SPLIT_NAMES", "WHOLE", "IncompleteListingError", "Listing", "sort_labels"]

# The name under which a data set without splits keeps its images.
WHOLE = "all"
SPLITS = ("train", "val", "test")
# What people call them.
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a data set, one row each.

    Args:
        root: the folder that their paths are told from.
        classes: the names of the classes in the order of the logits.
        paths: the files. Where images come out of one array, names below the root that nothing lies at.
        split: (N,) ``train``, ``val`` or ``test``, or ``WHOLE`` for all of them.
        target: (N,) int64, the class of each, or (N, K) float32 of 0 and 1 where images have several labels.
        notes: what the user should know.
        in_folders: whether the splits are folders of the root, which is how messages then call them.
        pixels: (N, H, W, 3) uint8 where the images come out of one array, else None.
        store: what the images are read from where they are no files of their own, else None; in the order of ``paths``,
            which then are names.
        mistakes: what could not be listed, to be told like images that can't be read.
        readings: what reading the images gave, where that was done already, else None.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[Path]
    split: NDArray[np.str_]
    target: Targets
    notes: tuple[str, ...] = ()
    in_folders: bool = False
    pixels: NDArray[np.uint8] | None = None
    store: ImageStore | None = None
    mistakes: tuple[str, ...] = ()
    readings: Readings | None = None

    @classmethod
    def of_files(
        cls,
        root: Path,
        classes: tuple[str, ...],
        rows: Iterable[tuple[Path, str, int]],
        *,
        notes: Iterable[str] = (),
        in_folders: bool = False,
    ) -> Listing:
        """Make a listing of (path, split, class) rows; they are put in order: by split, class and path."""
        order = {name: k for k, name in enumerate((*SPLITS, WHOLE))}
        ordered = sorted(rows, key=lambda row: (order[row[1]], row[2], row[0]))
        split = np.array([name for _, name, _ in ordered], np.str_)
        target = np.array([label for _, _, label in ordered], np.int64)
        return cls(root, classes, [path for path, _, _ in ordered], split, target, tuple(notes), in_folders)

    @classmethod
    def of_label_sets(
        cls,
        root: Path,
        classes: tuple[str, ...],
        rows: Iterable[tuple[Path, str, Sequence[int]]],
        *,
        notes: Iterable[str] = (),
    ) -> Listing:
        """Make a listing of (path, split, classes) rows of several labels or none; in order by split and path."""
        order = {name: k for k, name in enumerate((*SPLITS, WHOLE))}
        ordered = sorted(rows, key=lambda row: (order[row[1]], row[0]))
        split = np.array([name for _, name, _ in ordered], np.str_)
        target = mark_labels([numbers for *_, numbers in ordered], len(classes))
        return cls(root, classes, [path for path, _, _ in ordered], split, target, tuple(notes))

    @classmethod
    def of_pixels(
        cls,
        root: Path,
        classes: tuple[str, ...],
        parts: Iterable[tuple[str, NDArray[np.uint8], NDArray[np.int64]]],
        *,
        notes: Iterable[str] = (),
    ) -> Listing:
        """Make a listing of (split, pixels, classes) parts; grey images, (N, H, W), become RGB. The order is kept."""
        names: list[str] = []
        paths: list[Path] = []
        targets: list[NDArray[np.int64]] = []
        waiting = deque(parts)
        every = np.empty((sum(len(target) for *_, target in waiting), *waiting[0][1].shape[1:3], 3), np.uint8)
        while waiting:
            # Each part goes as it is copied, unless its reader holds it: a set need not be in memory twice.
            split, images, target = waiting.popleft()
            every[len(names) : len(names) + len(target)] = images if images.ndim == 4 else images[..., None]
            names += [split] * len(target)
            paths += [root / split / classes[k].replace("/", "-") / f"{i:05}" for i, k in enumerate(target.tolist())]
            targets.append(target)
            del images
        target = np.concatenate(targets).astype(np.int64)
        return cls(root, classes, paths, np.array(names, np.str_), target, tuple(notes), pixels=every)

    @classmethod
    def of_stored(
        cls,
        root: Path,
        classes: tuple[str, ...],
        paths: Sequence[Path],
        splits: Sequence[str],
        target: Targets,
        store: ImageStore,
        *,
        notes: Iterable[str] = (),
        mistakes: Iterable[str] = (),
        readings: Readings | None = None,
        by_class: bool = True,
    ) -> Listing:
        """Make a listing of the images of a store; they are put in the order that files would have.

        Args:
            root: what paths start from.
            classes: the names of the classes.
            paths: the names of the images.
            splits: the split of each.
            target: (N,) the class of each.
            store: what they are read from.
            notes: what the user should know.
            mistakes: what could not be listed.
            readings: what reading them gave, where that was done already.
            by_class: order each split by class and path; else it keeps the order of the store, for one that is best
                read from its beginning to its end.
        """
        order = {name: k for k, name in enumerate((*SPLITS, WHOLE))}
        labels = target.tolist() if target.ndim == 1 else [0] * len(paths)
        if by_class:
            rows = sorted(range(len(paths)), key=lambda i: (order[splits[i]], labels[i], paths[i]))
        else:
            rows = sorted(range(len(paths)), key=lambda i: order[splits[i]])
        taken = np.array(rows, np.int64)
        split = np.array([splits[i] for i in rows], np.str_)
        return cls(
            root, classes, [paths[i] for i in rows], split, target[taken], tuple(notes), store=take_rows(store, taken),
            mistakes=tuple(mistakes), readings=None if readings is None else readings.take(taken),
        )  # fmt: skip

    @property
    def images(self) -> ImageStore:
        """What the images are read from; not for those out of one array."""
        return self.store or FileStore(self.paths)

    @cached_property
    def relative(self) -> list[str]:
        """The path of each image from the root, with forward slashes."""
        return name_below(self.root, self.paths)

    def take(self, rows: NDArray[np.int64]) -> Listing:
        """Return the listing of these images alone, in this order."""
        return replace(
            self,
            paths=[self.paths[i] for i in rows],
            split=self.split[rows],
            target=self.target[rows],
            pixels=None if self.pixels is None else self.pixels[rows],
            store=take_rows(self.store, rows),
            readings=None if self.readings is None else self.readings.take(rows),
        )

    def count(self, split: str) -> NDArray[np.int64]:
        """Return the number of images of each class of a split, (K,)."""
        return count_labels(self.target[self.split == split], len(self.classes))

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.target.ndim == 2

    def needs_classes(self, split: str) -> bool:
        """Whether each class needs an image in a split: in training always, elsewhere where each image has one class.

        Of several labels, rare ones may be absent from a test split, and count in no mean there.
        """
        return not self.multi_label or split in ("train", WHOLE)

    def leave_out_empty_classes(self) -> Listing:
        """Return the listing without the classes that no image has, and with a note of them."""
        found = np.flatnonzero(count_labels(self.target, len(self.classes)))
        if len(found) == len(self.classes):
            return self
        there = set(found.tolist())
        lost = [repr(name) for k, name in enumerate(self.classes) if k not in there]
        note = f"{len(lost)} of {len(self.classes)} classes have no image and are left out: {enumerate_some(lost, 5)}"
        classes = tuple(self.classes[k] for k in found)
        target = self.target[:, found] if self.multi_label else np.searchsorted(found, self.target).astype(np.int64)
        return replace(self, classes=classes, target=target, notes=(*self.notes, note))

    def require_classes(self) -> Listing:
        """Return the listing itself, once it is sure that a classifier can be trained on it.

        Raises:
            IncompleteListingError: there are no training images, fewer than two classes, or a split without a class.
        """
        if WHOLE not in self.split and "train" not in self.split:
            raise IncompleteListingError(f"{str(self.root)!r}: there are no training images.", self)
        if len(self.classes) < 2:
            one = f"{str(self.root)!r} has one class, {self.classes[0]!r}; a classifier needs two at least."
            raise IncompleteListingError(one, self)
        for split in dict.fromkeys(self.split.tolist()):
            lost = [repr(self.classes[k]) for k in np.flatnonzero(self.count(split) == 0)]
            if lost and self.needs_classes(split):
                where = "" if split == WHOLE else f" in {self.place(split)}"
                none = f"{str(self.root)!r}: there is no image of class {enumerate_some(lost, 10)}{where}."
                raise IncompleteListingError(none, self)
        return self

    def place(self, split: str) -> str:
        """Return how messages call a split: ``train/`` where it is a folder, else ``train``."""
        return f"{split}/" if self.in_folders else split

    def kind(self, split: str) -> str:
        """Return the same as a noun: ``val/ folder`` or ``val split``."""
        return f"{split}/ folder" if self.in_folders else f"{split} split"


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Return labels in the order of their classes: by value where all are whole numbers, else as texts.

    Example:
        >>> sort_labels({"10", "9"}), sort_labels({"b", "10"})
        (('9', '10'), ('10', 'b'))
    """
    if all(re.fullmatch(r"-?[0-9]+", label) for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


class IncompleteListingError(DataError):
    """A data set was listed, but a classifier can't be trained on it.

    Args:
        text: what it lacks.
        listing: what is there all the same, for those who look at it only.
    """

    def __init__(self, text: str, listing: Listing) -> None:
        super().__init__(text)
        self.listing = listing
