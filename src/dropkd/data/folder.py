"""Finds the images of a data folder: ``train/CLASS/*`` with ``val`` and ``test`` beside, or ``CLASS/*``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.errors import DataError, did_you_mean

__all__ = ["WHOLE", "FolderFiles", "find_files"]

# The name under which a folder without splits keeps its images.
WHOLE = "all"

_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# How far below the place where images belong misplaced ones are looked for.
_SEARCH_DEPTH = 4
_LAYOUTS = "Expected: train/CLASS/* and test/CLASS/* (val/ too, if you have it), or CLASS/*."


@dataclass
class FolderFiles:
    """The image files of a data folder.

    Args:
        root: the folder.
        classes: the class names, sorted.
        files: for each split (or ``WHOLE`` alone), each class's files, sorted by name.
        notes: what was left aside.
    """

    root: Path
    classes: tuple[str, ...] = ()
    files: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Listing:
    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


@dataclass
class _Leftovers:
    """What was met beside the images, to be told in notes or an error."""

    others: list[Path] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    misplaced: dict[Path, int] = field(default_factory=dict)


def find_files(root: Path) -> FolderFiles:
    """Return the image files of a data folder by split and class; nothing is opened.

    Hidden files and folders are passed over, links are followed.

    Raises:
        DataError: the folder is missing or empty, has one class, images lie too deep, or splits differ in
            classes.
    """
    top = _list_root(root)
    found, left = FolderFiles(root), _Leftovers()
    splits = _find_splits(root, top)
    if splits:
        left.others, left.loose = list(top.others), list(top.images)
        ignored = [f for f in top.folders if f not in splits.values()]
        found.notes += _note(root, ignored, "folder beside train/", "folders beside train/")
    for name, folder in (splits or {WHOLE: root}).items():
        found.files[name] = _find_classes(folder, left)
    _check_depth(root, top, left)
    found.classes = _check_classes(root, found.files, left, splits)
    found.notes += _note(root, left.others, "file that is no image", "files that are no images")
    found.notes += _note(root, left.loose, "image outside the class folders", "images outside the class folders")
    found.notes += _note(root, left.empty, "folder without images", "folders without images")
    return found


def _list_root(root: Path) -> _Listing:
    try:
        present, is_folder = root.exists(), root.is_dir()
    except OSError as error:
        raise DataError(f"can't read the data folder {str(root)!r}: {error.strerror}.") from error
    if not present:
        near = did_you_mean(root.name, [p.name for p in root.parent.iterdir()]) if root.parent.is_dir() else ""
        raise DataError(f"the data folder {str(root)!r} does not exist.{near}")
    if not is_folder:
        raise DataError(f"the data must be a folder of images, got the file {str(root)!r}. Unpack archives first.")
    return _list_folder(root)


def _list_folder(folder: Path) -> _Listing:
    listing = _Listing()
    try:
        with os.scandir(folder) as entries:
            ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"can't read the folder {str(folder)!r}: {error.strerror}.") from error
    for entry in ordered:
        path = folder / entry.name
        if entry.is_dir():
            if entry.name != "__MACOSX":
                listing.folders.append(path)
        # A link to nothing counts as an image, so that it's reported as one that can't be read.
        elif path.suffix.lower() in IMAGE_SUFFIXES and (entry.is_file() or not path.exists()):
            listing.images.append(path)
        else:
            listing.others.append(path)
    return listing


def _find_splits(root: Path, top: _Listing) -> dict[str, Path]:
    """Return the folders of the splits, train first; none where the folders are classes."""
    splits: dict[str, Path] = {}
    for folder in top.folders:
        name = _SPLIT_NAMES.get(folder.name.lower())
        if name in splits:
            raise DataError(
                f"{str(root)!r} has two folders for one split: {splits[name].name!r} and {folder.name!r}. Keep one."
            )
        if name:
            splits[name] = folder
    others = [f for f in top.folders if f not in splits.values()]
    if others and not any(_list_folder(f).folders for f in splits.values()):
        return {}  # a class may be called "train": its folder holds images, no folders
    if splits and "train" not in splits:
        have = ", ".join(f.name + "/" for f in splits.values())
        raise DataError(f"{str(root)!r} has {have} but no train/ folder. {_LAYOUTS}")
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}


def _find_classes(folder: Path, left: _Leftovers) -> dict[str, list[Path]]:
    """Return the images of each folder that has any, and note down what else is there."""
    listing = _list_folder(folder)
    left.others += listing.others
    left.loose += listing.images
    classes: dict[str, list[Path]] = {}
    for class_folder in listing.folders:
        inside = _list_folder(class_folder)
        deeper = _count_deeper(inside.folders)
        left.others += inside.others
        left.misplaced.update(deeper)
        if inside.images:
            classes[class_folder.name] = inside.images
        elif not deeper:
            left.empty.append(class_folder)
    return classes


def _count_deeper(folders: Iterable[Path]) -> dict[Path, int]:
    """Return how many images each folder below the given ones holds (and these themselves)."""
    counts: dict[Path, int] = {}
    level = list(folders)
    for _ in range(_SEARCH_DEPTH):
        below: list[Path] = []
        for folder in level:
            listing = _list_folder(folder)
            below += listing.folders
            if listing.images:
                counts[folder] = len(listing.images)
        level = below
    return counts


def _check_depth(root: Path, top: _Listing, left: _Leftovers) -> None:
    if not left.misplaced:
        return
    where = [f"{p.relative_to(root).as_posix()}/ ({_count(n, 'image')})" for p, n in left.misplaced.items()]
    advice = "Move them up into their class's folder."
    if len(top.folders) == 1 and top.folders[0].name.lower() not in _SPLIT_NAMES:
        advice = f"Perhaps you mean the folder {str(top.folders[0])!r}."
    raise DataError(
        f"{str(root)!r}: images lie too deep, they were found in {_enumerate(where, 5)}. {_LAYOUTS} {advice}"
    )


def _check_classes(
    root: Path, files: dict[str, dict[str, list[Path]]], left: _Leftovers, splits: dict[str, Path]
) -> tuple[str, ...]:
    first = "train" if "train" in files else WHOLE
    classes = sorted(files[first])
    folder = splits.get(first, root)
    if not classes:
        have = f"holds {_count(len(left.loose), 'image')} but no folder per class" if left.loose else "holds no images"
        if left.others and not left.loose:
            have += f" ({_name_some(root, left.others, 'file that is no image', 'files that are no images')})"
        raise DataError(f"the folder {str(folder)!r} {have}. {_LAYOUTS}")
    problems = [text for name in files if (text := _compare_classes(splits, name, files, classes))]
    if problems:
        raise DataError(f"{str(root)!r}: the splits do not have the same classes." + "".join(problems))
    if len(classes) == 1:
        raise DataError(
            f"the folder {str(folder)!r} has one class with images, {classes[0]!r}; "
            f"a classifier needs two at least. {_LAYOUTS}"
        )
    return tuple(classes)


def _compare_classes(
    splits: dict[str, Path], name: str, files: dict[str, dict[str, list[Path]]], classes: list[str]
) -> str:
    missing = [c for c in classes if c not in files[name]]
    extra = [c for c in sorted(files[name]) if c not in classes]
    text = ""
    if missing:
        text += f" {splits[name].name}/ lacks {_enumerate([repr(c) for c in missing], 10)}."
    if extra:
        listed = _enumerate([repr(c) for c in extra], 10)
        text += f" {splits[name].name}/ has {listed}, which {splits['train'].name}/ lacks."
        text += did_you_mean(extra[0], classes)
    return text


def _note(root: Path, paths: list[Path], one: str, many: str) -> list[str]:
    return [f"ignored {_name_some(root, paths, one, many)}"] if paths else []


def _name_some(root: Path, paths: list[Path], one: str, many: str) -> str:
    names = _enumerate([p.relative_to(root).as_posix() for p in paths], 3)
    return f"{len(paths)} {one if len(paths) == 1 else many}: {names}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _enumerate(items: list[str], most: int) -> str:
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
