"""Images inside of shards, each read from its place without what lies before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from dropkd.data.nearness import Nearness

__all__ = ["LocalShard", "Shard", "ShardStore"]


class Shard(Protocol):
    """A tar file that can be opened."""

    def open(self) -> BinaryIO:
        """Return the open file."""
        ...


@dataclass(frozen=True)
class LocalShard:
    """A tar file on this machine."""

    path: Path

    def open(self) -> BinaryIO:
        """Return the open file."""
        # Unbuffered: one read takes one image, and nothing beyond it.
        return self.path.open("rb", buffering=0)


@dataclass(frozen=True, eq=False)
class ShardStore:
    """Images in tar files.

    Args:
        shards: the files.
        shard: (N,) the file that each image lies in.
        offset: (N,) where its bytes begin.
        size: (N,) how many there are.
        nearness: which images should be read near each other, where files are brought from elsewhere.
    """

    shards: Sequence[Shard]
    shard: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    nearness: Nearness | None = None

    def __len__(self) -> int:
        return len(self.shard)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image."""
        size = self.measure(index)
        with self.shards[int(self.shard[index])].open() as file:
            file.seek(int(self.offset[index]))
            data = file.read(size)
            # A single read of an unbuffered file may give less.
            while len(data) < size and (more := file.read(size - len(data))):
                data += more
        if len(data) < size:
            raise ValueError("the shard ends before the image does")
        return data

    def measure(self, index: int) -> int:
        """Return how many bytes an image has."""
        return int(self.size[index])
