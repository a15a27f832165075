"""Reads every image of a data set once: whether it is whole, its size, its hash, and its pixels if small."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropkd.data.images import decode_image, decode_reduced, explain_failure
from dropkd.data.stores import ImageStore
from dropkd.errors import DropKDError

__all__ = ["PACK_BYTES", "PACK_SIDE", "Readings", "are_packed", "measure_pixels", "read_images"]

# Sets that fit into this are kept decoded in memory.
PACK_BYTES = 512 * 2**20
# The largest side of an image that counts as small: beyond it, random crops cost more than decoding does.
PACK_SIDE = 128
# Files larger than this decode long enough outside of Python's lock for threads to pay.
_THREADS_PAY_BYTES = 16 * 1024
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Readings:
    """What reading the images gave, one entry an image.

    Args:
        failures: why an image can't be read, by its number; empty when all are whole.
        sizes: (N, 2) heights and widths; 0 where unreadable.
        digests: SHA-256 of each image's bytes; empty bytes where unreadable.
        pixels: (N, H, W, 3) uint8, or None where the images are not small, of one size and few enough.
    """

    failures: dict[int, str]
    sizes: NDArray[np.int64]
    digests: list[bytes]
    pixels: NDArray[np.uint8] | None

    def take(self, rows: NDArray[np.int64]) -> Readings:
        """Return what reading these images alone would have given."""
        failures = {new: self.failures[old] for new, old in enumerate(rows.tolist()) if old in self.failures}
        pixels = None if self.pixels is None else self.pixels[rows]
        return Readings(failures, self.sizes[rows], [self.digests[i] for i in rows], pixels)


def read_images(
    store: ImageStore, progress: Callable[[int, int], None] | None = None, *, pack: bool = True
) -> Readings:
    """Decode every image once.

    Args:
        store: where they are.
        progress: called with the number of images read so far and of all.
        pack: keep the pixels where the images are small, of one size and few enough.

    Raises:
        DropKDError: the store itself can't be read any more.
    """
    reader = _Reader(store, pack)
    chunks = [range(i, min(i + _CHUNK, len(store))) for i in range(0, len(store), _CHUNK)]
    with warnings.catch_warnings():
        # Remarks on metadata (a corrupt EXIF block, say) change no pixel.
        warnings.filterwarnings("ignore", module="PIL")
        for chunk in _map_chunks(reader.read_chunk, chunks, _count_threads(store)):
            if progress is not None:
                progress(chunk.stop, len(store))
    return Readings(reader.failures, reader.sizes, reader.digests, reader.packed_pixels())


def are_packed(count: int, size: tuple[int, int]) -> bool:
    """Return whether so many images of one height and width are kept decoded in memory."""
    return max(size) <= PACK_SIDE and 3 * count * size[0] * size[1] <= PACK_BYTES


def measure_pixels(pixels: NDArray[np.uint8]) -> Readings:
    """Return the readings of images that come out of one array, (N, H, W, 3); the digests are over the pixels."""
    sizes = np.broadcast_to(np.array(pixels.shape[1:3], np.int64), (len(pixels), 2))
    digests = [hashlib.sha256(image.tobytes()).digest() for image in pixels]
    return Readings({}, sizes, digests, pixels)


class _Reader:
    def __init__(self, store: ImageStore, pack: bool) -> None:
        self.store = store
        self.failures: dict[int, str] = {}
        self.sizes = np.zeros((len(store), 2), np.int64)
        self.digests = [b""] * len(store)
        self.pixels = self._allocate_pack() if pack else None
        self.uniform = self.pixels is not None

    def _allocate_pack(self) -> NDArray[np.uint8] | None:
        """Make room for all images if the first readable one is small enough."""
        count = len(self.store)
        for i in range(count):
            try:
                (height, width), _ = decode_reduced(self.store.read(i))
            except Exception:  # noqa: S112 - reported when its turn comes
                continue
            return np.empty((count, height, width, 3), np.uint8) if are_packed(count, (height, width)) else None
        return None

    def read_chunk(self, chunk: range) -> range:
        for i in chunk:
            try:
                self._read(i)
            except DropKDError:
                raise
            except Exception as error:
                # Whatever a decoder throws at a damaged file is a property of that file.
                self.failures[i] = explain_failure(error)
        return chunk

    def _read(self, i: int) -> None:
        data = self.store.read(i)
        if self.uniform and self.pixels is not None:
            image = decode_image(data)
            size = (image.height, image.width)
            if size == self.pixels.shape[1:3]:
                self.pixels[i] = np.asarray(image)
            else:
                self.uniform = False
        else:
            size, _ = decode_reduced(data)
        self.sizes[i] = size
        self.digests[i] = hashlib.sha256(data).digest()

    def packed_pixels(self) -> NDArray[np.uint8] | None:
        return self.pixels if self.uniform else None


def _map_chunks(read: Callable[[range], range], chunks: Sequence[range], threads: int) -> Iterator[range]:
    if threads < 2:
        yield from map(read, chunks)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, chunks)


def _count_threads(store: ImageStore) -> int:
    sizes = [size for i in range(0, len(store), max(1, len(store) // 32)) if (size := _measure(store, i)) is not None]
    if not sizes or float(np.median(sizes)) < _THREADS_PAY_BYTES:
        return 1
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _measure(store: ImageStore, index: int) -> int | None:
    """Return how many bytes an image has, or None where it can't be read; that is told when its turn comes."""
    try:
        return store.measure(index)
    except DropKDError:
        raise
    except Exception:
        return None
