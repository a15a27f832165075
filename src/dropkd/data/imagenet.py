"""ImageNet as a folder, and Tiny-ImageNet in its own layout: their labelled validation images are the test split.

The test images of both have no labels, so all published results are accuracies on the validation images. Picking an
epoch by them would make such results too good; they are looked at once, and the epoch is picked by images that are cut
from the training images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dropkd.data.folder import list_folder
from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.data.listing import Listing
from dropkd.data.rows import RowMistakes, read_lines
from dropkd.data.source import Source
from dropkd.data.wording import count_of
from dropkd.errors import DataError, did_you_mean

__all__ = ["is_imagenet", "is_tiny_imagenet", "list_imagenet", "list_tiny_imagenet"]

# The number of a WordNet synset, as ImageNet's folders are called.
_WNID = re.compile(r"n\d{8}")
_ANNOTATIONS = Path("val", "val_annotations.txt")
_TINY_COUNTS = {"train": 100_000, "test": 10_000}
_COUNTS = {"classes": 1_000, "train": 1_281_167, "test": 50_000}
_LOOKED_AT_ONCE = (
    "results are reported on the images of val/: they are the test split here, looked at once at the end, and the "
    "epoch is picked by images cut from train/"
)


def is_imagenet(root: Path) -> bool:
    """Tell whether a folder has ``train`` and ``val`` with ImageNet's class folders, and no labelled ``test``."""
    train, val, test = (root / name for name in ("train", "val", "test"))
    return _has_wnids(train) and val.is_dir() and not _has_wnids(test)


def list_imagenet(source: Source) -> Listing:
    """Return the images of ``train/WNID/*`` and of ``val/WNID/*``, which are the test split.

    Raises:
        DataError: the validation images are not sorted into class folders, or the folders do not fit each other.
        ConfigError: there are no options.
    """
    source.check_options()
    root = source.path
    val = root / "val"
    if not _has_wnids(val) and (loose := sum(p.suffix.lower() in IMAGE_SUFFIXES for p in val.iterdir())):
        raise DataError(
            f"{str(val)!r} holds {count_of(loose, 'image')} but no folder per class. Sort them into folders that are "
            "called as those of train/, as the customary valprep script does."
        )
    listing = list_folder(root, {"train": root / "train", "test": val}, notes=(_LOOKED_AT_ONCE,))
    counts = {"classes": len(listing.classes)}
    counts |= {split: int(np.count_nonzero(listing.split == split)) for split in ("train", "test")}
    return replace(listing, notes=(*listing.notes, *_compare_counts("ImageNet", counts, _COUNTS)))


def is_tiny_imagenet(root: Path) -> bool:
    """Tell whether a folder is Tiny-ImageNet by its lists."""
    return (root / _ANNOTATIONS).is_file() or ((root / "wnids.txt").is_file() and (root / "train").is_dir())


def list_tiny_imagenet(source: Source) -> Listing:
    """Return the images of ``train/WNID/images/*`` and those of ``val/images`` that its list gives a class.

    Classes are in the order of their numbers and called by the first word of ``words.txt``.

    Raises:
        DataError: the list is missing or wrong, or a class has no images.
        ConfigError: there are no options.
    """
    source.check_options()
    root = source.path
    wnids = sorted(p.name for p in (root / "train").iterdir() if p.is_dir() and not p.name.startswith("."))
    if not (root / _ANNOTATIONS).is_file():
        raise DataError(f"{str(root)!r} looks like Tiny-ImageNet but has no {_ANNOTATIONS.as_posix()}.")
    rows = [
        (path, "train", label)
        for label, wnid in enumerate(wnids)
        for path in (root / "train" / wnid / "images").glob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    trained = len(rows)
    rows += [(root / "val" / "images" / name, "test", label) for name, label in _read_annotations(root, wnids).items()]
    counts = {"train": trained, "test": len(rows) - trained}
    notes = [_LOOKED_AT_ONCE, *_compare_counts("Tiny-ImageNet", counts, _TINY_COUNTS)]
    return Listing.of_files(root, _name_classes(root, wnids), rows, notes=notes).require_classes()


def _compare_counts(name: str, counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """Return a note on what is there in other numbers than published, if anything is."""
    differences = [f"{what} {n:,} ({published[what]:,})" for what, n in counts.items() if n != published[what]]
    if not differences:
        return []
    return [f"{name} has other numbers of images than published (in brackets): {', '.join(differences)}"]


def _has_wnids(folder: Path) -> bool:
    """Tell whether the folders in a folder are called as ImageNet's classes, all of them and at least two."""
    if not folder.is_dir():
        return False
    names = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return len(names) > 1 and all(_WNID.fullmatch(name) for name in names)


def _read_annotations(root: Path, wnids: list[str]) -> dict[str, int]:
    """Return the class of each validation image."""
    file, numbers = root / _ANNOTATIONS, {wnid: k for k, wnid in enumerate(wnids)}
    mistakes = RowMistakes(file)
    labels: dict[str, int] = {}
    for line, text in enumerate(read_lines(file), 1):
        cells = text.split()
        if not cells:
            continue
        if len(cells) < 2:
            mistakes.add(line, f"must look like 'val_0.JPEG n03444034', got {text.strip()!r}")
        elif cells[1] not in numbers:
            mistakes.add(line, f"train/ has no class {cells[1]!r}.{did_you_mean(cells[1], wnids)}")
        elif cells[0] in labels:
            mistakes.add(line, f"{cells[0]!r} stands in the list already")
        else:
            labels[cells[0]] = numbers[cells[1]]
    mistakes.check()
    return labels


def _name_classes(root: Path, wnids: list[str]) -> tuple[str, ...]:
    """Return the first word for each number; the number itself where there is none, or beside it where two share it."""
    file = root / "words.txt"
    pairs = [line.partition("\t") for line in read_lines(file)] if file.is_file() else []
    words = {wnid: text.split(",")[0].strip() for wnid, _, text in pairs}
    names = [words.get(wnid) or wnid for wnid in wnids]
    shared = Counter(names)
    return tuple(f"{name} ({wnid})" if shared[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))
