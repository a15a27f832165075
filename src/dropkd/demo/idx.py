"""Reads the original files of Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.idx import read_idx
from dropkd.errors import DataError

__all__ = ["read_fashion_mnist"]

# Names of the original files, without the ".gz" that they may have.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


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
