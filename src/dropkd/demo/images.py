"""The bundled demo images: 6,000 + 2,000 of Fashion-MNIST, unpacked to an image folder.

The images are those of Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", 2017, under the licence in FASHION_MNIST_LICENSE beside this file.
``recipes/bundle_demo_images.py`` chose them. A file is named after the image's number in the original split.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dropkd.errors import DataError

__all__ = ["CLASSES", "DemoSplit", "load_demo_split", "unpack_demo_images", "write_images"]

# Folder names in the order of the original labels 0 to 9.
CLASSES = (
    *("t_shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle_boot"),
)
_BUNDLE = Path(__file__).with_name("fashion_mnist.npz")
_SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class DemoSplit:
    """The bundled images of a split.

    Args:
        images: (N, 28, 28) uint8, grey.
        labels: (N,) uint8, positions in ``CLASSES``.
        index: (N,) the number of each image in the original split, ascending.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    index: NDArray[np.int64]

    def paths(self, folder: Path) -> Iterator[Path]:
        """Return where each image lies in the split's folder."""
        for label, number in zip(self.labels.tolist(), self.index.tolist(), strict=True):
            yield folder / CLASSES[label] / f"{number:05}.png"


def load_demo_split(name: str) -> DemoSplit:
    """Return the bundled images of ``train`` (600 a class) or ``test`` (200 a class)."""
    with np.load(_BUNDLE, allow_pickle=False) as bundle:
        images, labels, index = (bundle[f"{name}_{part}"] for part in ("images", "labels", "index"))
    return DemoSplit(images, labels, index.astype(np.int64))


def unpack_demo_images(folder: Path) -> Path:
    """Write the bundled images to an image folder, ``train/CLASS/*`` and ``test/CLASS/*``; return it.

    The folder appears when it is whole: a stop in between leaves nothing that could be taken for it. One that
    is whole already is left alone.

    Raises:
        DataError: the folder exists and is something else, or can't be written.
    """
    folder = Path(folder)
    splits = {name: load_demo_split(name) for name in _SPLITS}
    missing = _count_missing(folder, splits)
    if missing == 0:
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{str(folder)!r} is in the way: {missing} of the demo images are missing there. "
            "Remove it or name another folder."
        )
    try:
        _unpack(folder, splits)
    except OSError as error:
        raise DataError(f"can't unpack the demo images to {str(folder)!r}: {error.strerror or error}.") from error
    return folder


def write_images(folder: Path, split: DemoSplit) -> None:
    """Write the images of a split to ``folder/CLASS/NUMBER.png``."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for pixels, path in zip(split.images, split.paths(folder), strict=True):
        Image.fromarray(pixels).save(path)


def _unpack(folder: Path, splits: dict[str, DemoSplit]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, since only a rename within one file system is atomic.
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, split in splits.items():
            write_images(partial / name, split)
        # A temporary folder is private to its owner; the result shouldn't be.
        partial.chmod(0o777 & ~_read_umask())
        _put_in_place(partial, folder, splits)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path, splits: dict[str, DemoSplit]) -> None:
    try:
        partial.replace(folder)
    except OSError:
        # Another process may have been faster; its copy is as good.
        if _count_missing(folder, splits):
            raise


def _count_missing(folder: Path, splits: dict[str, DemoSplit]) -> int:
    paths = (path for name, split in splits.items() for path in split.paths(folder / name))
    return sum(1 for path in paths if not path.is_file())


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
