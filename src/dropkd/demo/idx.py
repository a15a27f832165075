"""Reads the IDX files that MNIST and its successors come in."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import DataError

__all__ = ["read_fashion_mnist", "read_idx"]

# Names of the original files, without the ".gz" that they may have.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# The third byte of the header: unsigned bytes.
_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes that an IDX file holds, gzipped or not.

    Raises:
        DataError: the file is missing, damaged or holds something else.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"can't read the IDX file {str(path)!r}: {error}.") from error
    if len(data) < 4 or data[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise DataError(f"{str(path)!r} is no IDX file of unsigned bytes, it begins with {data[:4]!r}.")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) - start != math.prod(shape):
        raise DataError(f"{str(path)!r} should hold {shape} bytes, but has {len(data) - start}: it is damaged.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_fashion_mnist(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images (N, 28, 28) and labels (N,) of a split.

    Args:
        folder: where the four original files lie, gzipped or not.
        split: ``train`` (60,000 images) or ``test`` (10,000).

    Raises:
        DataError: a file is missing, damaged, or images and labels differ in number.
    """
    images, labels = (read_idx(_find(folder, name)) for name in _FILES[split])
    if len(images) != len(labels):
        raise DataError(f"{str(folder)!r}: {split} has {len(images)} images but {len(labels)} labels.")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError(
        f"{str(folder)!r} has no {name}.gz. The original files of Fashion-MNIST are expected there, "
        "as in the Debian package dataset-fashion-mnist."
    )
