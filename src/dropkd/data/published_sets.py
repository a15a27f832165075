"""Readers of published image sets in the layout that torchvision keeps them in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropkd.data.idx import read_idx
from dropkd.data.listing import Listing
from dropkd.data.rows import RowMistakes, read_lines
from dropkd.errors import DataError

__all__ = ["list_fashion_mnist", "list_flowers102", "list_food101", "list_oxford_pets", "list_stl10", "list_svhn"]


def list_fashion_mnist(folder: Path) -> Listing:
    """Return the images of Fashion-MNIST out of its four IDX files, gzipped or not."""
    from torchvision.datasets import FashionMNIST

    parts = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        files = [folder / name if (folder / name).is_file() else folder / f"{name}.gz" for name in names]
        images, labels = (read_idx(file) for file in files)
        parts.append((split, images, _check_labels(files[1], labels, len(images), 10)))
    return Listing.of_pixels(folder, tuple(FashionMNIST.classes), parts)


def list_svhn(folder: Path) -> Listing:
    """Return the cropped digits of SVHN, without its extra images."""
    parts = ((split, *_read_digits(folder / f"{split}_32x32.mat")) for split in ("train", "test"))
    return Listing.of_pixels(folder, tuple("0123456789"), parts)


def _read_digits(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = _read_mat(file, "X", "y")
    pixels = content["X"].transpose(3, 0, 1, 2)
    # There the digit 0 has the label 10.
    return pixels, _check_labels(file, content["y"].reshape(-1) % 10, len(pixels), 10)


def list_stl10(folder: Path) -> Listing:
    """Return the labelled images of STL-10."""
    classes = tuple(name for name in read_lines(folder / "class_names.txt") if name)
    parts = []
    for split in ("train", "test"):
        file, labels = folder / f"{split}_X.bin", np.fromfile(folder / f"{split}_y.bin", np.uint8)
        data = np.fromfile(file, np.uint8)
        if data.size != len(labels) * 3 * 96 * 96:
            raise DataError(
                f"{str(file)!r} should hold {len(labels)} images, but has {data.size:,} bytes: it is cut off."
            )
        # Colour by colour, and column by column.
        pixels = np.ascontiguousarray(data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1))
        parts.append((split, pixels, _check_labels(file, labels.astype(np.int64) - 1, len(pixels), len(classes))))
    return Listing.of_pixels(folder, classes, parts)


def list_flowers102(folder: Path) -> Listing:
    """Return the images of Oxford's 102 flowers with their own three splits."""
    from torchvision.datasets import Flowers102

    # Older versions of torchvision do not name the flowers.
    classes = tuple(getattr(Flowers102, "classes", [f"flower {k}" for k in range(1, 103)]))
    labels = _read_mat(folder / "imagelabels.mat", "labels")["labels"].reshape(-1)
    splits = _read_mat(folder / "setid.mat", "trnid", "valid", "tstid")
    target = _check_labels(folder / "imagelabels.mat", labels.astype(np.int64) - 1, len(labels), 102)
    rows = []
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        numbers = splits[key].reshape(-1).astype(np.int64).tolist()
        if not all(1 <= n <= len(target) for n in numbers):
            raise DataError(
                f"{str(folder / 'setid.mat')!r} names images that {str(folder / 'imagelabels.mat')!r} lacks."
            )
        rows += [(folder / "jpg" / f"image_{n:05}.jpg", split, int(target[n - 1])) for n in numbers]
    return Listing.of_files(folder, classes, rows)


def list_oxford_pets(folder: Path) -> Listing:
    """Return the images of the 37 breeds of Oxford's pets."""
    names: dict[int, str] = {}
    found: list[tuple[Path, str, int]] = []
    for split, name in (("train", "trainval"), ("test", "test")):
        file = folder / "annotations" / f"{name}.txt"
        mistakes = RowMistakes(file)
        for line, text in enumerate(read_lines(file), 1):
            cells = text.split()
            if not cells or text.startswith("#"):
                continue
            if len(cells) != 4 or not cells[1].isdecimal() or "_" not in cells[0]:
                mistakes.add(line, f"must look like 'Abyssinian_100 1 1 1', got {text.strip()!r}")
                continue
            breed = cells[0].rpartition("_")[0].replace("_", " ").title()
            if names.setdefault(int(cells[1]), breed) != breed:
                mistakes.add(line, f"the label {cells[1]} is {names[int(cells[1])]!r} elsewhere, here {breed!r}")
            found.append((folder / "images" / f"{cells[0]}.jpg", split, int(cells[1])))
        mistakes.check()
    place = {label: k for k, label in enumerate(sorted(names))}
    rows = ((path, split, place[label]) for path, split, label in found)
    return Listing.of_files(folder, tuple(names[label] for label in place), rows)


def list_food101(folder: Path) -> Listing:
    """Return the images of Food-101."""
    lists = {split: _read_json(folder / "meta" / f"{split}.json") for split in ("train", "test")}
    classes = tuple(sorted(lists["train"]))
    if sorted(lists["test"]) != list(classes):
        raise DataError(f"{str(folder / 'meta')!r}: train.json and test.json do not have the same classes.")
    rows = (
        (folder / "images" / f"{name}.jpg", split, label)
        for split, names in lists.items()
        for label, kind in enumerate(classes)
        for name in names[kind]
    )
    return Listing.of_files(folder, classes, rows)


def _check_labels(file: Path, labels: NDArray[Any], images: int, classes: int) -> NDArray[np.int64]:
    if len(labels) != images:
        raise DataError(f"{str(file)!r} has {len(labels)} labels for {images} images.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(f"{str(file)!r}: a label is out of range, there are {classes} classes.")
    return labels.astype(np.int64)


def _read_mat(file: Path, *keys: str) -> Mapping[str, Any]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(
            f"{str(file)!r} is a file of MATLAB, which needs scipy to be read: pip install scipy"
        ) from error
    try:
        content: dict[str, Any] = loadmat(file)
    # Whatever a file that was cut off or is none throws is a property of that file.
    except Exception as error:
        raise DataError(f"can't read {str(file)!r} as a file of MATLAB ({error}).") from error
    missing = [key for key in keys if key not in content]
    if missing:
        raise DataError(f"{str(file)!r} holds no {missing[0]!r}.")
    return content


def _read_json(file: Path) -> dict[str, list[str]]:
    try:
        content = json.loads("\n".join(read_lines(file)))
    except ValueError as error:
        raise DataError(f"can't read {str(file)!r} as JSON ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise DataError(f"{str(file)!r} must hold a list of images for each class.")
    return {str(kind): [str(name) for name in names] for kind, names in content.items()}
