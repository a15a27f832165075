"""Looks at all images of a data set, one after the other: what is kept of each is some 500 bytes, never its pixels."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from sys import intern

import numpy as np
from numpy.typing import NDArray

from dropkd.data.check.hashing import HASH_BITS, MARGINS, THUMB_SIDE
from dropkd.data.check.looking import PIXEL_DIGEST_BYTES, Look, look_at_file, look_at_pixels
from dropkd.data.check.subject import Subject
from dropkd.data.images import explain_failure
from dropkd.errors import DropKDError

__all__ = ["Looks", "look_at_all"]

_CHUNK = 32
# Files larger than this decode long enough outside of Python's lock for threads to pay.
_THREADS_PAY_BYTES = 16 * 1024
_MOST_THREADS = 16


@dataclass(eq=False)
class Looks:
    """What the images are like, one entry each; entries of those that can't be read are empty.

    Args:
        count: how many images there are.
        hashing: whether perceptual hashes are kept.
    """

    count: int
    hashing: bool
    failures: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = np.zeros((self.count, 2), np.int32)
        self.content = np.zeros((self.count, 32), np.uint8)
        self.pixels = np.zeros((self.count, PIXEL_DIGEST_BYTES), np.uint8)
        self.turned = np.zeros(self.count, bool)
        self.colourless = np.zeros(self.count, bool)
        self.frames = np.zeros(self.count, np.int32)
        self.thumbs = np.zeros((self.count, THUMB_SIDE, THUMB_SIDE), np.uint8)
        self.colours = np.zeros((self.count, 3), np.uint8)
        hashed = self.count if self.hashing else 0
        self.hashes = np.zeros((hashed, len(MARGINS), HASH_BITS // 64), np.uint64)
        self.formats = [""] * self.count
        self.modes = [""] * self.count

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images can be read, (N,)."""
        readable = np.ones(self.count, bool)
        readable[list(self.failures)] = False
        return readable

    def put(self, i: int, look: Look) -> None:
        """Note down what an image is like."""
        self.sizes[i] = look.height, look.width
        self.content[i] = np.frombuffer(look.content, np.uint8)
        self.pixels[i] = np.frombuffer(look.pixels, np.uint8)
        self.turned[i], self.colourless[i], self.frames[i] = look.turned, look.colourless, look.frames
        self.thumbs[i], self.colours[i] = look.thumb, look.colour
        self.formats[i], self.modes[i] = intern(look.format), intern(look.mode)
        if look.hashes is not None:
            self.hashes[i] = look.hashes


def look_at_all(
    subject: Subject, *, hashing: bool, workers: int | None, progress: Callable[[int, int], None] | None = None
) -> Looks:
    """Read, decode and hash every image once.

    Args:
        subject: the images.
        hashing: whether to take perceptual hashes.
        workers: threads; None decides by the size of the files.
        progress: called with the number of images looked at so far and of all.
    """
    looks = Looks(len(subject), hashing)
    chunks = [range(i, min(i + _CHUNK, len(subject))) for i in range(0, len(subject), _CHUNK)]

    def look_at(chunk: range) -> range:
        for i in chunk:
            _look_at_one(subject, i, looks)
        return chunk

    with warnings.catch_warnings():
        # Remarks on metadata (a corrupt EXIF block, say) change no pixel.
        warnings.filterwarnings("ignore", module="PIL")
        for chunk in _map(look_at, chunks, workers or _count_threads(subject)):
            if progress is not None:
                progress(chunk.stop, len(subject))
    return looks


def _look_at_one(subject: Subject, i: int, looks: Looks) -> None:
    try:
        pixels = subject.pixels
        if pixels is not None:
            looks.put(i, look_at_pixels(pixels[i], hashing=looks.hashing))
        else:
            looks.put(i, look_at_file(subject.read(i), hashing=looks.hashing))
    except DropKDError:
        raise
    except Exception as error:
        # Whatever a decoder throws at a damaged file is a property of that file.
        looks.failures[i] = explain_failure(error)


def _map(look_at: Callable[[range], range], chunks: Sequence[range], threads: int) -> Iterator[range]:
    """Map in order, a few chunks ahead; when it is broken off, what has not begun is dropped."""
    if threads < 2:
        yield from map(look_at, chunks)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        rest = iter(chunks)
        ahead: deque[Future[range]] = deque(pool.submit(look_at, chunk) for chunk in islice(rest, 2 * threads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(look_at, chunk) for chunk in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _count_threads(subject: Subject) -> int:
    sizes = [subject.measure(i) for i in range(0, len(subject), max(1, len(subject) // 32))]
    if not sizes or float(np.median(sizes)) < _THREADS_PAY_BYTES:
        return 1
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
