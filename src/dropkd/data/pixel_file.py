"""Decoded images of a data set on disk, so that each is decoded once and not once an epoch."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALES", "PixelFile", "Seen"]

# What both sides of an image may be divided by; those beyond 1 are for JPEGs, see dropkd.data.jpegs.
SCALES = (1, 2, 4, 8)
_INDEX = "index.bin"
# Of each image, for each scale: the checksum of its pixels, whether they are there, and what was seen of the file.
_ENTRY = np.dtype([("checksum", "<u4"), ("is_there", "u1"), ("jpeg", "u1"), ("turned", "u1"), ("unused", "u1")])


@dataclass(frozen=True)
class Seen:
    """What has to be known of an image beside its pixels.

    Args:
        jpeg: whether it is a JPEG, which may be decoded at a part of its size.
        turned: how the camera was held, 1 (upright) to 8.
    """

    jpeg: bool
    turned: int


class PixelFile:
    """Decoded images in files of raw bytes that are mapped into memory, one for each scale.

    The files are filled as images are decoded, by any number of processes at once: what two of them write at the same
    place is the same. Nothing is read that does not fit its checksum, so neither a killed writer nor a damaged disk can
    give a wrong pixel; what does not fit counts as not there. Each process compares an image once, when it first
    reads it. A full disk, or a place that can't be written, ends the writing and nothing else.

    Args:
        folder: where the files are, or will be; it is made with the first image.
        sizes: (N, 2) heights and widths.
    """

    def __init__(self, folder: Path, sizes: NDArray[np.int64]) -> None:
        self.folder, self.sizes = folder, sizes
        self.starts = {scale: _place(sizes, scale) for scale in SCALES}
        self.can_write = True
        self._forget()

    def lock(self, path: Path) -> None:
        """Hold a lock that others may hold too, for as long as this object lives; passed over where there are none."""
        import fcntl

        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        weakref.finalize(self, os.close, held)
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._mapped: dict[str, tuple[int, NDArray[np.uint8]]] = {}
        # What see() returned for each image, 0 where nothing yet.
        self._seen = np.zeros(len(self.sizes), np.uint8)
        # Anonymous memory is shared with worker processes that are forked, so that none compares what another one has.
        self._compared = np.frombuffer(mmap.mmap(-1, len(self.sizes) * len(SCALES)), np.uint8).reshape(-1, len(SCALES))

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "sizes": self.sizes, "starts": self.starts, "can_write": self.can_write}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def see(self, row: int) -> Seen | None:
        """Return what is known of an image, or None where none of its pixels are there."""
        if self._seen[row]:
            jpeg, turned = divmod(int(self._seen[row]), 16)
            return Seen(bool(jpeg), turned)
        index = self._index()
        if index is None:
            return None
        for scale in np.flatnonzero(index[row]["is_there"]).tolist():
            if self.find(row, SCALES[scale]) is not None:
                entry = index[row, scale]
                self._seen[row] = 16 * entry["jpeg"] + entry["turned"]
                return Seen(bool(entry["jpeg"]), int(entry["turned"]))
        return None

    def find(self, row: int, scale: int = 1) -> NDArray[np.uint8] | None:
        """Return the pixels of an image, (H, W, 3), not to be written to; None where they are not there."""
        index, column = self._index(), SCALES.index(scale)
        if index is None or not index[row, column]["is_there"]:
            return None
        opened = self._map(_name(scale), int(self.starts[scale][-1]), write=False)
        if opened is None:
            return None
        start, stop = self.starts[scale][row : row + 2].tolist()
        flat = opened[1][start:stop]
        if not self._compared[row, column]:
            entry = index[row, column]
            if _checksum(flat, Seen(bool(entry["jpeg"]), int(entry["turned"]))) != entry["checksum"]:
                return None
            self._compared[row, column] = 1
        return flat.reshape(*_scaled(self.sizes[row], scale), 3)

    def keep(self, row: int, scale: int, pixels: NDArray[np.uint8], seen: Seen) -> None:
        """Write the pixels of an image; they are passed over where they can't be kept."""
        if not self.can_write or pixels.shape != (*_scaled(self.sizes[row], scale), 3):
            return
        flat = np.ascontiguousarray(pixels).reshape(-1)
        column = SCALES.index(scale)
        entry = np.array((_checksum(flat, seen), 1, seen.jpeg, seen.turned, 0), _ENTRY)
        size = len(self.sizes) * len(SCALES) * _ENTRY.itemsize
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files = [self._map(_name(scale), int(self.starts[scale][-1]), write=True)]
            files.append(self._map(_INDEX, size, write=True))
            starts = [int(self.starts[scale][row]), (row * len(SCALES) + column) * _ENTRY.itemsize]
            for file, start, content in zip(files, starts, (flat, entry), strict=True):
                if file is None or file[0] < 0:
                    raise PermissionError
                _write(file[0], content, start)
        except OSError:
            self.can_write = False

    def count(self) -> int:
        """Return of how many images there are pixels."""
        index = self._index()
        return 0 if index is None else int(index["is_there"].any(1).sum())

    def _index(self) -> NDArray[Any] | None:
        size = len(self.sizes) * len(SCALES) * _ENTRY.itemsize
        opened = self._map(_INDEX, size, write=False)
        return None if opened is None else opened[1].view(_ENTRY).reshape(-1, len(SCALES))

    def _map(self, name: str, size: int, *, write: bool) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the descriptor of a file (-1 where it can't be written) and its content; None where it is not there.

        Raises:
            OSError: it can't be made.
        """
        if name in self._mapped:
            return self._mapped[name]
        with self._lock:
            if name not in self._mapped:
                opened = _open(self.folder / name, size, make=write)
                if opened is None:
                    return None
                if opened[0] >= 0:
                    weakref.finalize(self, os.close, opened[0])
                self._mapped[name] = opened
        return self._mapped[name]


def _name(scale: int) -> str:
    return f"pixels-{scale}.u8"


def _open(path: Path, size: int, *, make: bool) -> tuple[int, NDArray[np.uint8]] | None:
    """Return a file's descriptor for writing, or -1, and its content; None where it is not there.

    A file that is made, or has another size than it must have, gets holes in place of bytes.
    """
    number, readable = -1, -1
    try:
        number = readable = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
        if make:
            os.ftruncate(number, size)
    except OSError:
        if number >= 0:
            os.close(number)
        if make:
            raise
        with contextlib.suppress(OSError):
            readable = os.open(path, os.O_RDONLY)
    if readable < 0:
        return None
    if os.fstat(readable).st_size == size:
        content = np.frombuffer(mmap.mmap(readable, size, access=mmap.ACCESS_READ), np.uint8)
        if number < 0:
            os.close(readable)
        return number, content
    os.close(readable)
    return None


def _scaled(size: NDArray[np.int64], scale: int) -> tuple[int, int]:
    height, width = size.tolist()
    return -(-height // scale), -(-width // scale)


def _place(sizes: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """Return (N + 1,) where each image begins in the file of a scale, and where that ends."""
    scaled = -(-sizes // scale)
    return np.concatenate([[0], np.cumsum(3 * scaled[:, 0] * scaled[:, 1])]).astype(np.int64)


def _checksum(flat: NDArray[np.uint8], seen: Seen) -> int:
    return zlib.crc32(flat.data, zlib.crc32(bytes([seen.jpeg, seen.turned])))


def _write(number: int, content: NDArray[Any], start: int) -> None:
    data = content.tobytes() if content.ndim == 0 else content.data
    if os.pwrite(number, data, start) != content.nbytes:
        raise OSError
