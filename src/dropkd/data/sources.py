"""Where a loader gets its images from: decoded each time they are asked for, or once and then from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.images import Picture
from dropkd.data.jpegs import Jpeg, read_picture
from dropkd.data.pixel_file import PixelFile, Seen
from dropkd.data.stores import ImageStore

__all__ = ["KeptImages", "KeptRows", "StoredImages"]


@dataclass(frozen=True)
class StoredImages:
    """Images that are decoded each time they are asked for.

    Args:
        store: what they are read from.
        paths: what errors call them.
        pixels: how finely JPEGs are decoded, see :class:`Jpeg`.
    """

    store: ImageStore
    paths: Sequence[Path]
    pixels: int

    def __getitem__(self, index: int) -> Picture | Jpeg:
        return self.open(index, partial(self.store.read, index))

    def open(self, index: int, read: Callable[[], bytes]) -> Picture | Jpeg:
        """Return an image whose bytes a function gives."""
        return read_picture(read, str(self.paths[index]), self.pixels)


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Which rows of a file of pixels are the images of a split.

    Args:
        file: the decoded images.
        rows: (n,) the row of each image of the split.
    """

    file: PixelFile
    rows: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> KeptRows:
        """Return those of these images alone, in this order."""
        return KeptRows(self.file, self.rows[rows])


@dataclass(frozen=True)
class KeptImages:
    """Images that are decoded when they are first asked for, and from then on read from disk: the very same pixels.

    Args:
        stored: the images themselves.
        kept: their decoded pixels.
        digests: the SHA-256 of the content of each. What has another content is not kept.
    """

    stored: StoredImages
    kept: KeptRows
    digests: Sequence[bytes]

    def __getitem__(self, index: int) -> Picture | NDArray[np.uint8] | Jpeg:
        file, row = self.kept.file, int(self.kept.rows[index])
        seen = file.see(row)
        if seen is None:
            return self._open(index)
        if seen.jpeg:
            height, width = file.sizes[row].tolist()
            return Jpeg((height, width), seen.turned, partial(self._load, index), self.stored.pixels)
        pixels = file.find(row)
        return self._open(index) if pixels is None else pixels

    def _open(self, index: int) -> Picture | Jpeg:
        """Return an image from its store; what it is decoded to is kept."""
        if not self.kept.file.can_write:
            return self.stored[index]
        same = [False]

        def read() -> bytes:
            content = self.stored.store.read(index)
            # Pixels are kept under what the file held when the data was opened.
            same[0] = hashlib.sha256(content).digest() == self.digests[index]
            return content

        image = self.stored.open(index, read)
        if not same[0]:
            return image
        if isinstance(image, Jpeg):
            return image.watched(partial(self._keep, index, Seen(True, image.turned)))
        self._keep(index, Seen(False, 1), 1, image)
        return image

    def _load(self, index: int, scale: int) -> Picture | NDArray[np.uint8]:
        pixels = self.kept.file.find(int(self.kept.rows[index]), scale)
        if pixels is not None:
            return pixels
        image = self._open(index)
        return image.decode(scale) if isinstance(image, Jpeg) else image

    def _keep(self, index: int, seen: Seen, scale: int, picture: Picture) -> None:
        self.kept.file.keep(int(self.kept.rows[index]), scale, np.asarray(picture), seen)
