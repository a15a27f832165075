"""What reading image files told is kept, so that the next start reads only those that are new or changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.cache_place import cache_folder
from dropkd.data.decoders import decoder_versions
from dropkd.data.pack_file import PackFile
from dropkd.data.reading import Readings, are_packed, read_images
from dropkd.data.stores import FileStore
from dropkd.errors import DropKDError
from dropkd.files import replacing

__all__ = ["Remembering", "read_files"]

# What is kept has another meaning when this grows.
_FORMAT = 1
# Fewer files are read sooner than looked up.
_LEAST_FILES = 500
# A file that was changed so shortly before it was read may change again within the same tick of its clock: some file
# systems tell times to two seconds. Nothing of it is kept.
_SETTLED_NS = 3 * 10**9
_ABSENT = -1


@dataclass(frozen=True)
class Remembering:
    """How far the start of a run trusts what an earlier one has read.

    Args:
        anew: read every file all the same.
        pixel_bytes: how many bytes the decoded images of all data sets may take on disk; 0: none are written.
    """

    anew: bool = False
    pixel_bytes: int = 10**10


def read_files(
    files: FileStore, root: Path, remembering: Remembering, progress: Callable[[int, int], None] | None = None
) -> Readings:
    """Return what :func:`~dropkd.data.reading.read_images` gives, without reading what was read before.

    A file counts as the same where its path, size, inode and times of change and of modification are: writing to a file
    sets the time of change, and only a clock that is set back sets that back. Unreadable files are read again.

    Args:
        files: the images.
        root: the data set; what is known is kept by its place.
        remembering: how far that is trusted.
        progress: called with the number of images read so far and of all.

    Raises:
        DropKDError: the files can't be read any more.
    """
    if len(files) < _LEAST_FILES:
        return read_images(files, progress)
    memory, began = _Memory(root), time.time_ns()
    stamps = _stamp(files.paths)
    found = None if remembering.anew else memory.recall(files.paths, stamps)
    if found is not None:
        readings = _complete(files, *found, progress)
        if readings is not None:
            if not found[0].all():
                memory.keep(files.paths, stamps, readings, began)
            return readings
    readings = read_images(files, progress)
    memory.keep(files.paths, stamps, readings, began)
    if readings.pixels is not None and not readings.failures and remembering.pixel_bytes:
        pack = PackFile(readings.digests, readings.pixels.shape[1:3])
        pack.write(readings.pixels, root, remembering.pixel_bytes)
    return readings


def _complete(
    files: FileStore,
    known: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    digests: list[bytes],
    progress: Callable[[int, int], None] | None,
) -> Readings | None:
    """Return the readings of all files, those of unknown ones read now; None where all are better read anew.

    Args:
        files: the images.
        known: (N,) which of them are known.
        sizes: (N, 2) their heights and widths, where known.
        digests: of their contents, where known.
        progress: see :func:`read_files`.
    """
    if not known.any():
        return None
    first = tuple(sizes[known][0].tolist())
    uniform = bool((sizes[known] == first).all())
    if uniform and are_packed(len(files), first):
        # Small images are wanted decoded, and all of them in one array.
        pixels = PackFile(digests, first).read() if known.all() else None
        if pixels is None:
            return None
    else:
        pixels = None
    missing = np.flatnonzero(~known)
    done = len(files) - len(missing)
    if progress is not None:
        progress(done, len(files))
    failures: dict[int, str] = {}
    if len(missing):
        report = None if progress is None else lambda read, of: progress(done + read, len(files))
        rest = read_images(FileStore([files.paths[i] for i in missing.tolist()]), report, pack=False)
        failures = {int(missing[row]): text for row, text in rest.failures.items()}
        sizes[missing] = rest.sizes
        for row, digest in zip(missing.tolist(), rest.digests, strict=True):
            digests[row] = digest
    return Readings(failures, sizes, digests, pixels)


class _Memory:
    """The file in which is kept what is known of a data set's images; as in any zip file, each part has a checksum."""

    def __init__(self, root: Path) -> None:
        place = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
        self.path = cache_folder() / "readings" / f"{place}.npz"

    def recall(
        self, paths: Sequence[str | Path], stamps: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], list[bytes]] | None:
        """Return which files are known, all files' sizes and digests (those of unknown ones empty), or None.

        Args:
            paths: the files.
            stamps: (N, 4) what tells that a file is the same.
        """
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                if kept["versions"].tobytes() != _versions():
                    return None
                names = kept["paths"].tobytes().split(b"\0")
                there, sizes, digests = kept["stamps"], kept["sizes"], kept["digests"].tobytes()
        # Whatever is wrong with it, it can be made again.
        except Exception:
            return None
        row_of = {name: row for row, name in enumerate(names)}
        rows = np.array([row_of.get(os.fsencode(path), _ABSENT) for path in paths], np.int64)
        known = (rows != _ABSENT) & (stamps[:, 0] != _ABSENT) & (there[rows] == stamps).all(1)
        found = [
            digests[32 * row : 32 * row + 32] if own else b"" for row, own in zip(rows.tolist(), known, strict=True)
        ]
        return known, np.where(known[:, None], sizes[rows], 0), found

    def keep(self, paths: Sequence[str | Path], stamps: NDArray[np.int64], readings: Readings, began: int) -> None:
        """Keep what is known of these files; where that can't be written, they are read again next time.

        Args:
            paths: the files.
            stamps: (N, 4) of each, from before it was read.
            readings: what reading them gave.
            began: when reading began, in nanoseconds of the clock.
        """
        settled = (stamps[:, 0] != _ABSENT) & (stamps[:, 1:3].max(1) < began - _SETTLED_NS)
        rows = [row for row in np.flatnonzero(settled).tolist() if readings.digests[row]]
        if not rows:
            return
        with suppress(OSError, DropKDError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(
                    file,
                    versions=np.frombuffer(_versions(), np.uint8),
                    paths=np.frombuffer(b"\0".join(os.fsencode(paths[row]) for row in rows), np.uint8),
                    stamps=stamps[rows],
                    sizes=readings.sizes[rows],
                    digests=np.frombuffer(b"".join(readings.digests[row] for row in rows), np.uint8),
                )


def _versions() -> bytes:
    return json.dumps([_FORMAT, *decoder_versions()]).encode()


def _stamp(paths: Sequence[str | Path]) -> NDArray[np.int64]:
    """Return (N, 4) each file's size, times of modification and of change, and inode; -1 where it can't be had."""
    stamps = np.full((len(paths), 4), _ABSENT, np.int64)
    for row, path in enumerate(paths):
        with suppress(OSError, ValueError):
            found = os.stat(path)  # noqa: PTH116 - a Path made for each would take longer than the call
            # Some file systems number inodes beyond the range of signed integers.
            inode = found.st_ino & 0x7FFF_FFFF_FFFF_FFFF
            stamps[row] = found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode
    return stamps
