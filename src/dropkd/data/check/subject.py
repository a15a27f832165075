"""The images that are checked: where they are, what they are called, which class and split each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dropkd.data.listing import Listing

__all__ = ["ImageRef", "Subject"]


@dataclass(frozen=True)
class ImageRef:
    """An image of the data set.

    Args:
        path: from the data's root, with forward slashes.
        split: ``train``, ``val`` or ``test``; ``all`` where no splits could be made.
        label: its class, or its classes with ``+`` between them; empty where it has none.
    """

    path: str
    split: str
    label: str


@dataclass(frozen=True, eq=False)
class Subject:
    """A listing, and to which split each image would go.

    Args:
        listing: the images with their classes; a class of -1 is none.
        split: (N,) the split of each, once those are cut that the data set does not come with.
    """

    listing: Listing
    split: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.listing.paths)

    @property
    def pixels(self) -> NDArray[np.uint8] | None:
        """The images where they come out of one array, (N, H, W, 3)."""
        return self.listing.pixels

    def read(self, i: int) -> bytes:
        """Return an image as a file would hold it."""
        return self.listing.images.read(i)

    def measure(self, i: int) -> int:
        """Return how many bytes an image has, 0 where that can't be told."""
        try:
            return 0 if self.pixels is not None else self.listing.images.measure(i)
        except OSError:
            return 0

    def refer(self, i: int) -> ImageRef:
        """Return an image by its names."""
        return ImageRef(self.listing.relative[i], str(self.split[i]), self.label(i))

    def label(self, i: int) -> str:
        """Return the name of an image's class, or of its classes."""
        target = self.listing.target[i]
        kinds = np.flatnonzero(target > 0) if target.ndim else [target][: int(target >= 0)]
        return "+".join(self.listing.classes[int(k)] for k in kinds)

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """The splits that there are, in their order."""
        order = {name: k for k, name in enumerate(("train", "val", "test", "all"))}
        return tuple(sorted(set(self.split.tolist()), key=lambda name: order.get(name, len(order))))

    @cached_property
    def split_codes(self) -> NDArray[np.int64]:
        """The place of each image's split in :attr:`split_names`, (N,)."""
        places = {name: k for k, name in enumerate(self.split_names)}
        return np.array([places[name] for name in self.split.tolist()], np.int64)

    @cached_property
    def label_codes(self) -> NDArray[np.int64]:
        """A number for each image that is the same where the classes are the same, (N,)."""
        target = self.listing.target
        if target.ndim == 1:
            return self.listing.target
        codes: NDArray[np.int64] = np.unique(target > 0, axis=0, return_inverse=True)[1].reshape(-1)
        return codes

    def count(self, split: str) -> NDArray[np.int64]:
        """Return the number of images of each class of a split, (K,)."""
        target = self.listing.target[self.split == split]
        if target.ndim == 2:
            counts: NDArray[np.int64] = (target > 0).sum(axis=0, dtype=np.int64)
            return counts
        return np.bincount(target[target >= 0], minlength=len(self.listing.classes)).astype(np.int64)
