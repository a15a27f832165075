"""Where the bytes of images are read from: files of their own, or anything that holds many of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileStore", "ImageStore", "StoreRows", "name_below", "take_rows"]

_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_PIECE = 2**18


class ImageStore(Protocol):
    """Gives the encoded bytes of each image by its number.

    Stores go to worker processes, so they can be pickled, and keep no open file that processes would share. Threads may
    read from one at the same time. A failure that is not the image's own (a server that does not answer) is a
    :class:`~dropkd.errors.DropKDError`; any other exception is taken for a property of that image.
    """

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return an image as a file would hold it."""
        ...

    def measure(self, index: int) -> int:
        """Return how many bytes an image has, without reading it where that is known."""
        ...


@dataclass(frozen=True, eq=False)
class FileStore:
    """Images that are files."""

    paths: Sequence[str | Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """Return the content of a file."""
        # Of the time that a small file takes, a file object would be half.
        descriptor = os.open(self.paths[index], _READING)
        try:
            pieces = [os.read(descriptor, _PIECE)]
            while pieces[-1]:
                pieces.append(os.read(descriptor, _PIECE))
        finally:
            os.close(descriptor)
        return pieces[0] if len(pieces) <= 2 else b"".join(pieces)

    def measure(self, index: int) -> int:
        """Return a file's size."""
        return Path(self.paths[index]).stat().st_size


@dataclass(frozen=True, eq=False)
class StoreRows:
    """Some images of a store, in an order of their own."""

    store: ImageStore
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """Return the bytes of one of them."""
        return self.store.read(int(self.rows[index]))

    def measure(self, index: int) -> int:
        """Return how many bytes one of them has."""
        return self.store.measure(int(self.rows[index]))


def name_below(root: Path, paths: Sequence[Path]) -> list[str]:
    """Return each path from the root, with forward slashes; one that lies elsewhere is named as it is.

    Example:
        >>> name_below(Path("photos"), [Path("photos/cats/1.png"), Path("pool/2.png")])
        ['cats/1.png', 'pool/2.png']
    """
    # Of a hundred thousand paths, relative_to() takes a second.
    start = "" if root == Path() else os.path.join(root, "")  # noqa: PTH118 - Path takes the slash off again
    names = [os.fspath(path).removeprefix(start) for path in paths]
    return names if os.sep == "/" else [name.replace(os.sep, "/") for name in names]


def take_rows(store: ImageStore | None, rows: NDArray[np.int64]) -> ImageStore | None:
    """Return the store of these images alone, in this order; None, which stands for files, stays None."""
    if store is None:
        return None
    return StoreRows(store.store, store.rows[rows]) if isinstance(store, StoreRows) else StoreRows(store, rows)
