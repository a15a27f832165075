"""Reads every image of a data set once: whether it is whole, its size, its hash, and its pixels if small."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.images import decode_image, decode_reduced, explain_failure

__all__ = ["PACK_BYTES", "PACK_SIDE", "Readings", "measure_pixels", "read_images"]

# Sets that fit into this are kept decoded in memory.
PACK_BYTES = 512 * 2**20
# The largest side of an image that counts as small: beyond it, random crops cost more than decoding does.
PACK_SIDE = 128
# Files larger than this decode long enough outside of Python's lock for threads to pay.
_THREADS_PAY_BYTES = 16 * 1024
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Readings:
    """What reading the files gave, one entry a file.

    Args:
        failures: why a file can't be read, by its number; empty when all are whole.
        sizes: (N, 2) heights and widths; 0 where unreadable.
        digests: SHA-256 of each file's content; empty bytes where unreadable.
        pixels: (N, H, W, 3) uint8, or None where the images are not small, of one size and few enough.
    """

    failures: dict[int, str]
    sizes: NDArray[np.int64]
    digests: list[bytes]
    pixels: NDArray[np.uint8] | None


def read_images(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> Readings:
    """Decode every file once.

    Args:
        paths: the files.
        progress: called with the number of files read so far and of all.
    """
    reader = _Reader(paths)
    chunks = [range(i, min(i + _CHUNK, len(paths))) for i in range(0, len(paths), _CHUNK)]
    with warnings.catch_warnings():
        # Remarks on metadata (a corrupt EXIF block, say) change no pixel.
        warnings.filterwarnings("ignore", module="PIL")
        for chunk in _map_chunks(reader.read_chunk, chunks, _count_threads(paths)):
            if progress is not None:
                progress(chunk.stop, len(paths))
    return Readings(reader.failures, reader.sizes, reader.digests, reader.packed_pixels())


def measure_pixels(pixels: NDArray[np.uint8]) -> Readings:
    """Return the readings of images that come out of one array, (N, H, W, 3); the digests are over the pixels."""
    sizes = np.broadcast_to(np.array(pixels.shape[1:3], np.int64), (len(pixels), 2))
    digests = [hashlib.sha256(image.tobytes()).digest() for image in pixels]
    return Readings({}, sizes, digests, pixels)


class _Reader:
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.failures: dict[int, str] = {}
        self.sizes = np.zeros((len(paths), 2), np.int64)
        self.digests = [b""] * len(paths)
        self.pixels = self._allocate_pack()
        self.uniform = self.pixels is not None

    def _allocate_pack(self) -> NDArray[np.uint8] | None:
        """Make room for all images if the first readable one is small enough."""
        for path in self.paths:
            try:
                (height, width), _ = decode_reduced(path.read_bytes())
            except Exception:  # noqa: S112 - reported when its turn comes
                continue
            small = max(height, width) <= PACK_SIDE and len(self.paths) * height * width * 3 <= PACK_BYTES
            return np.empty((len(self.paths), height, width, 3), np.uint8) if small else None
        return None

    def read_chunk(self, chunk: range) -> range:
        for i in chunk:
            try:
                self._read(i)
            except Exception as error:
                # Whatever a decoder throws at a damaged file is a property of that file.
                self.failures[i] = explain_failure(error)
        return chunk

    def _read(self, i: int) -> None:
        data = self.paths[i].read_bytes()
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


def _count_threads(paths: Sequence[Path]) -> int:
    sample = paths[:: max(1, len(paths) // 32)]
    sizes = [path.stat().st_size for path in sample if path.is_file()]
    if not sizes or float(np.median(sizes)) < _THREADS_PAY_BYTES:
        return 1
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
