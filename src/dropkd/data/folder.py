"""Finds the images of a data folder: ``train/CLASS/*`` with ``val`` and ``test`` beside, or ``CLASS/*``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.data.advice import advise
from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.data.listing import SPLIT_NAMES, SPLITS, WHOLE, Listing
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import DataError, did_you_mean

__all__ = ["Entries", "list_folder", "list_root", "note_ignored", "scan_folder"]

# How far below the place where images belong misplaced ones are looked for.
_SEARCH_DEPTH = 4
_LAYOUTS = "Expected: train/CLASS/* and test/CLASS/* (val/ too, if you have it), or CLASS/*."


@dataclass
class Entries:
    """What a folder holds, but for what is hidden."""

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


def list_folder(root: Path, splits: Mapping[str, Path] | None = None, *, notes: Iterable[str] = ()) -> Listing:
    """Return the image files of a data folder by split and class; nothing is opened.

    Hidden files and folders are passed over, links are followed. Classes are sorted by name.

    Args:
        root: the folder.
        splits: the folder of each split, train first, where their names do not tell.
        notes: what the user should know beside what was met here.

    Raises:
        DataError: the folder is missing or empty, has one class, images lie too deep, or splits differ in
            classes.
    """
    top = list_root(root)
    left, notes = _Leftovers(), list(notes)
    named = splits is None
    splits = _find_splits(root, top) if splits is None else splits
    if splits:
        left.others, left.loose = list(top.others), list(top.images)
        ignored = [f for f in top.folders if f not in splits.values()]
        notes += note_ignored(root, ignored, "folder beside train/", "folders beside train/")
    files = {name: _find_classes(folder, left) for name, folder in (splits or {WHOLE: root}).items()}
    _check_depth(root, top, left)
    classes = _check_classes(root, files, left, splits)
    notes += note_ignored(root, left.others, "file that is no image", "files that are no images")
    notes += note_ignored(root, left.loose, "image outside the class folders", "images outside the class folders")
    notes += note_ignored(root, left.empty, "folder without images", "folders without images")
    rows = (
        (path, split, label) for split in files for label, name in enumerate(classes) for path in files[split][name]
    )
    return Listing.of_files(root, classes, rows, notes=notes, in_folders=named)


def list_root(root: Path) -> Entries:
    """Return what is in a data folder.

    Raises:
        DataError: there is no such folder.
    """
    try:
        present, is_folder = root.exists(), root.is_dir()
    except OSError as error:
        raise DataError(f"can't read the data folder {str(root)!r}: {error.strerror}.") from error
    if not present:
        near = did_you_mean(root.name, [p.name for p in root.parent.iterdir()]) if root.parent.is_dir() else ""
        raise DataError(f"the data folder {str(root)!r} does not exist.{near}")
    if not is_folder:
        raise DataError(
            f"the data must be a folder of images, got the file {str(root)!r}. Unpack archives first. The name "
            f"of a manifest ends in .csv or .parquet.{advise(root)}"
        )
    return scan_folder(root)


def scan_folder(folder: Path) -> Entries:
    """Return what is in a folder, in order of name.

    Raises:
        DataError: it can't be read.
    """
    entries = Entries()
    try:
        with os.scandir(folder) as found:
            ordered = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"can't read the folder {str(folder)!r}: {error.strerror}.") from error
    for entry in ordered:
        path = folder / entry.name
        if _is_folder(entry):
            if entry.name != "__MACOSX":
                entries.folders.append(path)
        # A link to nothing counts as an image, so that it's reported as one that can't be read.
        elif _has_suffix(entry.name) and (entry.is_file() or not path.exists()):
            entries.images.append(path)
        else:
            entries.others.append(path)
    return entries


def _has_suffix(name: str) -> bool:
    # Of a hundred thousand names, Path.suffix takes most of the time of a listing.
    _, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix.lower()}" in IMAGE_SUFFIXES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself, say; as a file it's reported where it can't be read.
        return False


def _find_splits(root: Path, top: Entries) -> dict[str, Path]:
    """Return the folders of the splits, train first; none where the folders are classes."""
    splits: dict[str, Path] = {}
    for folder in top.folders:
        name = SPLIT_NAMES.get(folder.name.lower())
        if name in splits:
            raise DataError(
                f"{str(root)!r} has two folders for one split: {splits[name].name!r} and {folder.name!r}. Keep one."
            )
        if name:
            splits[name] = folder
    others = [f for f in top.folders if f not in splits.values()]
    if others and not any(scan_folder(f).folders for f in splits.values()):
        return {}  # a class may be called "train": its folder holds images, no folders
    if splits and "train" not in splits:
        have = ", ".join(f.name + "/" for f in splits.values())
        raise DataError(f"{str(root)!r} has {have} but no train/ folder. {_LAYOUTS}")
    return {name: splits[name] for name in SPLITS if name in splits}


def _find_classes(folder: Path, left: _Leftovers) -> dict[str, list[Path]]:
    """Return the images of each folder that has any, and note down what else is there."""
    entries = scan_folder(folder)
    left.others += entries.others
    left.loose += entries.images
    classes: dict[str, list[Path]] = {}
    for class_folder in entries.folders:
        inside = scan_folder(class_folder)
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
            entries = scan_folder(folder)
            below += entries.folders
            if entries.images:
                counts[folder] = len(entries.images)
        level = below
    return counts


def _check_depth(root: Path, top: Entries, left: _Leftovers) -> None:
    if not left.misplaced:
        return
    where = [f"{p.relative_to(root).as_posix()}/ ({count_of(n, 'image')})" for p, n in left.misplaced.items()]
    advice = "Move them up into their class's folder."
    if len(top.folders) == 1 and top.folders[0].name.lower() not in SPLIT_NAMES:
        advice = f"Perhaps you mean the folder {str(top.folders[0])!r}."
    raise DataError(
        f"{str(root)!r}: images lie too deep, they were found in {enumerate_some(where, 5)}. {_LAYOUTS} {advice}"
    )


def _check_classes(
    root: Path, files: dict[str, dict[str, list[Path]]], left: _Leftovers, splits: Mapping[str, Path]
) -> tuple[str, ...]:
    first = "train" if "train" in files else WHOLE
    classes = sorted(files[first])
    folder = splits.get(first, root)
    if not classes:
        have = (
            f"holds {count_of(len(left.loose), 'image')} but no folder per class" if left.loose else "holds no images"
        )
        if left.others and not left.loose:
            have += f" ({_name_some(root, left.others, 'file that is no image', 'files that are no images')})"
        raise DataError(f"the folder {str(folder)!r} {have}. {_LAYOUTS}{advise(folder)}")
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
    splits: Mapping[str, Path], name: str, files: dict[str, dict[str, list[Path]]], classes: list[str]
) -> str:
    missing = [c for c in classes if c not in files[name]]
    extra = sorted(files[name].keys() - set(classes))
    text = ""
    if missing:
        text += f" {splits[name].name}/ lacks {enumerate_some([repr(c) for c in missing], 10)}."
    if extra:
        listed = enumerate_some([repr(c) for c in extra], 10)
        text += f" {splits[name].name}/ has {listed}, which {splits['train'].name}/ lacks."
        text += did_you_mean(extra[0], classes)
    return text


def note_ignored(root: Path, paths: list[Path], one: str, many: str) -> list[str]:
    """Return a note about files or folders that are passed over, or none where there are none."""
    return [f"ignored {_name_some(root, paths, one, many)}"] if paths else []


def _name_some(root: Path, paths: list[Path], one: str, many: str) -> str:
    names = enumerate_some([p.relative_to(root).as_posix() for p in paths], 3)
    return f"{len(paths)} {one if len(paths) == 1 else many}: {names}"
