"""What is known of the images of a data set once its folder has been opened."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.labels import Targets, count_labels
from dropkd.data.sources import KeptRows
from dropkd.data.stores import FileStore, ImageStore, name_below, take_rows
from dropkd.errors import DataError

__all__ = ["ImageData", "Pack", "Split", "require_split"]


@dataclass(frozen=True, eq=False)
class Pack:
    """Decoded images of one size in one array, shared by the splits of a data set.

    Args:
        array: (N, H, W, 3) uint8, RGB.
        rows: (n,) the row of each image of the split.
        has_files: whether the images can be read again from what they came from; else they are here alone.
    """

    array: NDArray[np.uint8]
    rows: NDArray[np.int64]
    has_files: bool = False

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """The SHA-256 of each image's pixels."""
        return tuple(hashlib.sha256(self.array[row].tobytes()).digest() for row in self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of an image of the split, (H, W, 3)."""
        pixels: NDArray[np.uint8] = self.array[self.rows[index]]
        return pixels


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split and their classes, in a fixed order: by class name, then by file name.

    Args:
        name: ``train``, ``val`` or ``test``.
        paths: the files, or the names of what comes out of a store.
        targets: (N,) int64, the class of each image, or (N, K) float32 of 0 and 1 where images have several
            labels or none.
        classes: the names of the classes.
        root: the folder that :attr:`relative_paths` start from.
        digests: the SHA-256 of each file's content as read at opening; empty to read the files when it is
            needed.
        pack: the decoded images where they are small and of one size, else None.
        store: what the images are read from where they are no files of their own, else None; ``paths`` are names then.
        sizes: (N, 2) heights and widths of the images as they are seen; None where nobody has looked.
        kept: where their decoded pixels are kept on disk, None where they are not.
    """

    name: str
    paths: tuple[Path, ...]
    targets: Targets
    classes: tuple[str, ...] = ()
    root: Path = Path()
    digests: tuple[bytes, ...] = ()
    pack: Pack | None = None
    store: ImageStore | None = None
    sizes: NDArray[np.int64] | None = None
    kept: KeptRows | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def images(self) -> ImageStore:
        """What the images are read from."""
        return self.store or FileStore(self.paths)

    @cached_property
    def relative_paths(self) -> tuple[str, ...]:
        """The path of each image from the data's root, with forward slashes."""
        return tuple(name_below(self.root, self.paths))

    @cached_property
    def contents(self) -> tuple[bytes, ...]:
        """The SHA-256 of each file's content, read where it is not known."""
        read = self.images.read
        return self.digests or tuple(hashlib.sha256(read(i)).digest() for i in range(len(self)))

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """The number of images of each class, (K,)."""
        return count_labels(self.targets, len(self.classes))

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.targets.ndim == 2

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Return the split of these rows alone, in this order."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in rows),
            targets=self.targets[rows],
            digests=tuple(self.digests[i] for i in rows) if self.digests else (),
            pack=None if self.pack is None else replace(self.pack, rows=self.pack.rows[rows]),
            store=take_rows(self.store, rows),
            sizes=None if self.sizes is None else self.sizes[rows],
            kept=None if self.kept is None else self.kept.take(rows),
        )

    def sample(self, images: int) -> Split:
        """Return so many images (or all, where there are fewer), spread evenly over the split."""
        return self.take(np.unique(np.linspace(0, len(self) - 1, min(images, len(self))).round().astype(np.int64)))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the class names and each image's relative path and content, and over several labels."""
        whole = hashlib.sha256("\0".join(self.classes).encode())
        for path, digest in zip(self.relative_paths, self.contents, strict=True):
            whole.update(b"\0" + path.encode(errors="surrogateescape") + b"\0" + digest)
        if self.multi_label:
            # No folder tells these labels.
            whole.update(b"\0" + self.targets.astype(np.uint8).tobytes())
        return whole.hexdigest()


def require_split(name: str, there: Collection[str]) -> None:
    """Make sure that data has a split of this name.

    Raises:
        DataError: it has none; those that it has are named.
    """
    if name not in there:
        raise DataError(f"The data has no split {name!r}. It has: {', '.join(there)}.")


@dataclass(frozen=True, eq=False)
class ImageData:
    """An opened data set.

    Args:
        root: its folder.
        classes: the names of the classes in the order of the logits.
        train: the images to learn from.
        val: the images that pick the epoch; None where all were to be trained on.
        test: the images that are looked at once, at the end; None where there are none.
        native_size: the median height and width of the training images.
        uniform: whether all images are of that size.
        notes: what was done that the user should know.
    """

    root: Path
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    test: Split | None
    native_size: tuple[int, int]
    uniform: bool
    notes: tuple[str, ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.train.multi_label

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are."""
        return tuple(split for split in (self.train, self.val, self.test) if split is not None)
