"""CIFAR-10 and CIFAR-100 from their Python files: pickles, of which nothing but arrays, lists and texts is built."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.data.listing import Listing
from dropkd.errors import DataError

__all__ = ["CIFAR10_FILES", "CIFAR100_FILES", "list_cifar10", "list_cifar100"]

_BATCHES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
CIFAR10_FILES = ("batches.meta", *_BATCHES["train"], *_BATCHES["test"])
CIFAR100_FILES = ("meta", "train", "test")


def list_cifar10(folder: Path) -> Listing:
    """Return the images of CIFAR-10 out of its six files."""
    return _list_files(folder, _BATCHES, "labels", _read(folder / "batches.meta", "label_names")["label_names"])


def list_cifar100(folder: Path) -> Listing:
    """Return the images of CIFAR-100 out of its two files, with the 100 fine labels."""
    names = _read(folder / "meta", "fine_label_names")["fine_label_names"]
    return _list_files(folder, {"train": ("train",), "test": ("test",)}, "fine_labels", names)


def _list_files(folder: Path, files: Mapping[str, tuple[str, ...]], key: str, names: list[str]) -> Listing:
    classes = tuple(str(name) for name in names)
    parts = ((split, *_read_batch(folder / batch, key, len(classes))) for split, own in files.items() for batch in own)
    return Listing.of_pixels(folder, classes, parts)


def _read_batch(file: Path, key: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = _read(file, "data", key)
    pixels, target = np.asarray(content["data"]), np.asarray(content[key], np.int64)
    return _as_images(file, pixels, target, classes), target


def _as_images(file: Path, pixels: NDArray[Any], target: NDArray[np.int64], classes: int) -> NDArray[np.uint8]:
    """Return rows of 3,072 bytes, colour by colour, as (N, 32, 32, 3)."""
    if pixels.dtype != np.uint8 or pixels.shape != (len(target), 3072):
        raise DataError(
            f"{str(file)!r} should hold {len(target)} images of 3,072 bytes, "
            f"but holds {pixels.shape} of {pixels.dtype}."
        )
    if len(target) and not 0 <= target.min() <= target.max() < classes:
        raise DataError(f"{str(file)!r}: a label is out of range, they must be 0 to {classes - 1}.")
    images: NDArray[np.uint8] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images


def _read(file: Path, *keys: str) -> Mapping[str, Any]:
    try:
        content = _ArrayUnpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load()
        missing = [key for key in keys if key not in content]
    # Whatever a pickle that was cut off or is none throws is a property of that file.
    except Exception as error:
        raise DataError(
            f"{str(file)!r} can't be read as a file of CIFAR ({error}). Unpack the archive again, or get another one."
        ) from error
    if missing:
        raise DataError(f"{str(file)!r} is no file of this CIFAR: it has no {missing[0]!r}.")
    return dict(content)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays and what Python has built in, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")):
            # The files name the place of numpy 1, which numpy 2 warns of.
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
