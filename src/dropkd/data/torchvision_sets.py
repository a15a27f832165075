"""Image sets called by name, ``torchvision:CIFAR100``: where their files are, how they come there, who reads them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dropkd.data.archives import advise_unpacking
from dropkd.data.cifar import CIFAR10_FILES, CIFAR100_FILES, list_cifar10, list_cifar100
from dropkd.data.listing import SPLITS, Listing
from dropkd.data.published_sets import (
    list_fashion_mnist,
    list_flowers102,
    list_food101,
    list_oxford_pets,
    list_stl10,
    list_svhn,
)
from dropkd.data.source import Source
from dropkd.errors import ConfigError, DataError, did_you_mean

__all__ = ["NAMED_SETS", "advise_name", "list_torchvision"]

_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_IDX = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class _NamedSet:
    """A published set.

    Args:
        read: lists the images of its folder.
        folder: that folder below the root, as torchvision has it.
        needs: what must lie in it.
        url: where the files come from.
        archives: the names of the files there.
        counts: the published numbers of images.
        notes: what else the user should know.
        calls: the arguments with which torchvision fetches all of it.
    """

    read: Callable[[Path], Listing]
    folder: str
    needs: tuple[str, ...]
    url: str
    archives: tuple[str, ...]
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    calls: Sequence[Mapping[str, Any]] = field(default=({},))


NAMED_SETS = {
    "CIFAR10": _NamedSet(
        list_cifar10, "cifar-10-batches-py", CIFAR10_FILES,
        "https://www.cs.toronto.edu/~kriz/", ("cifar-10-python.tar.gz",), {"train": 50_000, "test": 10_000},
    ),
    "CIFAR100": _NamedSet(
        list_cifar100, "cifar-100-python", CIFAR100_FILES,
        "https://www.cs.toronto.edu/~kriz/", ("cifar-100-python.tar.gz",), {"train": 50_000, "test": 10_000},
    ),
    "FashionMNIST": _NamedSet(
        list_fashion_mnist, "FashionMNIST/raw", _IDX,
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", tuple(f"{name}.gz" for name in _IDX),
        {"train": 60_000, "test": 10_000},
    ),
    "Flowers102": _NamedSet(
        list_flowers102, "flowers-102", ("imagelabels.mat", "setid.mat", "jpg"),
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", ("102flowers.tgz", "imagelabels.mat", "setid.mat"),
        {"train": 1_020, "val": 1_020, "test": 6_149},
    ),
    "Food101": _NamedSet(
        list_food101, "food-101", ("meta/train.json", "meta/test.json", "images"),
        "http://data.vision.ee.ethz.ch/cvl/", ("food-101.tar.gz",), {"train": 75_750, "test": 25_250},
    ),
    "OxfordIIITPet": _NamedSet(
        list_oxford_pets, "oxford-iiit-pet", ("annotations/trainval.txt", "annotations/test.txt", "images"),
        "https://www.robots.ox.ac.uk/~vgg/data/pets/data/", ("images.tar.gz", "annotations.tar.gz"),
        {"train": 3_680, "test": 3_669},
    ),
    "STL10": _NamedSet(
        list_stl10, "stl10_binary", ("class_names.txt", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
        "http://ai.stanford.edu/~acoates/stl10/", ("stl10_binary.tar.gz",), {"train": 5_000, "test": 8_000},
        ("the unlabelled images of STL-10 are not used",),
    ),
    "SVHN": _NamedSet(
        list_svhn, "", ("train_32x32.mat", "test_32x32.mat"),
        "http://ufldl.stanford.edu/housenumbers/", ("train_32x32.mat", "test_32x32.mat"),
        {"train": 73_257, "test": 26_032}, ("the extra images of SVHN are not used",),
        ({"split": "train"}, {"split": "test"}),
    ),
}  # fmt: skip


def list_torchvision(source: Source) -> Listing:
    """Return the images of a set that is called by name.

    The option ``root`` says where its files are, ``data`` by default, as torchvision lays them out there or the
    set's own folder; with ``download=true`` torchvision fetches them first, where they are not there.

    Raises:
        DataError: files are missing or damaged, or can't be fetched.
        ConfigError: an unknown set or option.
    """
    source.check_options("root", "download")
    name = _find_name(source)
    chosen, root = NAMED_SETS[name], source.path
    wish = source.options.get("download", "false").lower()
    if wish not in _YES_NO:
        raise ConfigError(f"{source.text!r}: download must be true or false, got {source.options['download']!r}.")
    folder = _find_folder(chosen, root)
    if folder is None and _YES_NO[wish]:
        _download(name, chosen, root)
        folder = _find_folder(chosen, root)
    if folder is None:
        raise DataError(f"{name} is not in {str(root)!r}: {_say_missing(chosen, root)}. {_advise(name, chosen, root)}")
    listing = chosen.read(folder).require_classes()
    return replace(listing, notes=(*listing.notes, *chosen.notes, *_compare_counts(name, chosen, listing)))


def advise_name(place: Path) -> str:
    """Return by which name a folder or an archive of a published set is opened, as a sentence, or an empty string."""
    for name, chosen in NAMED_SETS.items():
        if chosen.folder and place.is_dir() and _find_folder(chosen, place) is not None:
            return f"These are the files of {name}: give them as 'torchvision:{name}?root={place}'."
        if place.is_file() and place.name in chosen.archives:
            return f"Then give 'torchvision:{name}?root={place.parent}': this is the archive of {name}."
    return ""


def _find_name(source: Source) -> str:
    by_lower = {name.lower(): name for name in NAMED_SETS}
    if (name := by_lower.get(source.place.lower())) is None:
        raise ConfigError(
            f"unknown set {source.text!r}. There are: {', '.join(NAMED_SETS)}."
            f"{did_you_mean(source.place, NAMED_SETS)} For others, unpack the images into a folder."
        )
    return name


def _find_folder(chosen: _NamedSet, root: Path) -> Path | None:
    """Return the folder that holds all the set needs: torchvision's, or the root itself."""
    for folder in (root / chosen.folder, root):
        if all(_is_there(folder / need) for need in chosen.needs):
            return folder
    return None


def _is_there(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}.gz").exists()


def _say_missing(chosen: _NamedSet, root: Path) -> str:
    if root.is_file():
        return "that is a file, and root is the folder around what is unpacked from it"
    if not root.is_dir():
        return "there is no such folder"
    missing = next(need for need in chosen.needs if not _is_there(root / chosen.folder / need))
    return f"there is no {(Path(chosen.folder) / missing).as_posix()}"


def _advise(name: str, chosen: _NamedSet, root: Path) -> str:
    if root.is_file():
        return f"{advise_unpacking(root)} and give 'torchvision:{name}?root={root.parent}'.".strip()
    packed = [name for name in chosen.archives if name.endswith(("tar.gz", "tgz"))]
    here = [path for place in (root, root / chosen.folder) for name in packed if (path := place / name).is_file()]
    if here:
        return f"But {here[0].name} is there: unpack it in {str(here[0].parent)!r}, which needs no network."
    files = " ".join(chosen.url + archive for archive in chosen.archives)
    to = (root / chosen.folder).as_posix()
    return (
        f"If it lies elsewhere, say so: 'torchvision:{name}?root=FOLDER'. To have it downloaded: "
        f"'torchvision:{name}?root={root}&download=true'. Without a network: get {files} on another machine and "
        f"unpack it so that {to}/{chosen.needs[0]} is there."
    )


def _download(name: str, chosen: _NamedSet, root: Path) -> None:
    from torchvision import datasets

    try:
        # What torchvision prints is progress, and stdout may be JSON.
        with redirect_stdout(sys.stderr):
            for arguments in chosen.calls:
                getattr(datasets, name)(root, download=True, **arguments)
    # Networks, servers and archives fail in many ways.
    except Exception as error:
        raise DataError(
            f"{name} could not be downloaded to {str(root)!r}: tried {chosen.url}{chosen.archives[0]}, got: "
            f"{str(error).strip() or type(error).__name__}. {_advise(name, chosen, root)}"
        ) from error


def _compare_counts(name: str, chosen: _NamedSet, listing: Listing) -> list[str]:
    counts = {split: int(np.count_nonzero(listing.split == split)) for split in SPLITS}
    differences = [
        f"{split} {counts[split]:,} ({published:,})"
        for split, published in chosen.counts.items()
        if counts[split] != published
    ]
    if not differences:
        return []
    return [f"{name} has other numbers of images than published (in brackets): {', '.join(differences)}"]
