"""RAF-DB, its basic and its compound emotions, in the layout that it is handed out in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from dropkd.data.listing import Listing
from dropkd.data.raf_db_lists import Row, aligned_name, check_labels, read_list, read_training_labels
from dropkd.data.source import Source
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import DataError

__all__ = ["BASIC_EMOTIONS", "COMPOUND_EMOTIONS", "is_raf_db", "list_raf_db"]

# The classes in the order of the labels, which start from 1.
BASIC_EMOTIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
COMPOUND_EMOTIONS = (
    *("Happily Surprised", "Happily Disgusted", "Sadly Fearful", "Sadly Angry", "Sadly Surprised", "Sadly Disgusted"),
    *("Fearfully Angry", "Fearfully Surprised", "Angrily Surprised", "Angrily Disgusted", "Disgustedly Surprised"),
)

# Spelt so in what is handed out.
_LIST = "list_patition_label.txt"
_LIST_FOLDERS = ("EmoLabel", "", "Image")
_IMAGE_FOLDERS = ("Image/aligned", "aligned")
_PARTS = ("", "basic", "compound")
# Published numbers of images; of the compound ones by class only the sums are.
_BASIC_COUNTS = {
    "train": (1290, 281, 717, 4772, 1982, 705, 2524),
    "test": (329, 74, 160, 1185, 478, 162, 680),
}
_COMPOUND_SUMS = {"train": 3162, "test": 792}
# Labels above 7 are 44 % of the compound list; a few of them in a basic list are mistakes.
_COMPOUND_SHARE = 0.1
_LAYOUT = f"Expected: EmoLabel/{_LIST} and Image/aligned/train_00001_aligned.jpg and so on."


def is_raf_db(root: Path) -> bool:
    """Tell whether a folder is RAF-DB by its list of labels, or its aligned images where the list is missing."""
    return _find_list(root) is not None or any((root / part / "Image" / "aligned").is_dir() for part in _PARTS)


def list_raf_db(source: Source) -> Listing:
    """Return the images of RAF-DB, basic or compound as its labels are, and note where they are not all there.

    The option ``labels`` names another list of training labels, such as those with known shares of wrong ones;
    test labels always come from the data set's own list.

    Raises:
        DataError: the list or the images are missing, or a line is not what it should be.
        ConfigError: an option other than ``labels``.
    """
    source.check_options("labels")
    root = source.path
    place = _find_list(root)
    if place is None:
        near = _suggest_list(root)
        raise DataError(f"{str(root)!r} holds the aligned images of RAF-DB but no {_LIST} (spelt so).{near} {_LAYOUT}")
    part, file = place
    rows = read_list(file)
    classes = _choose_classes(rows)
    check_labels(file, rows, classes)
    folder = _find_images(part)
    notes = _compare_counts(rows, classes)
    if part != root and part.name == "basic" and (root / "compound").is_dir():
        notes.append(
            f"these are the basic emotions; the compound ones are a data set of their own: {root / 'compound'}"
        )
    notes += _note_unlisted(folder, rows)
    labels = {row.name: row.label for row in rows}
    if "labels" in source.options:
        others, note = read_training_labels(source.options["labels"], file, rows, classes)
        labels |= others
        notes.append(note)
    files = ((folder / aligned_name(row.name), row.split, labels[row.name] - 1) for row in rows)
    return Listing.of_files(root, classes, files, notes=notes).require_classes()


def _find_list(root: Path) -> tuple[Path, Path] | None:
    """Return the part of the data set that a folder is or holds, and its list; the basic part first."""
    for part in _PARTS:
        for folder in _LIST_FOLDERS:
            if (file := root / part / folder / _LIST).is_file():
                return root / part, file
    return None


def _suggest_list(root: Path) -> str:
    """Return a word on a file that is likely the list under another name, or an empty string."""
    near = [
        file
        for part in _PARTS
        for folder in _LIST_FOLDERS
        for file in sorted((root / part / folder).glob("*.txt"))
        if get_close_matches(file.name, [_LIST], cutoff=0.8)
    ]
    return f" There is {str(near[0])!r}: rename it." if near else ""


def _find_images(part: Path) -> Path:
    for name in _IMAGE_FOLDERS:
        if (part / name).is_dir():
            return part / name
    archives = sorted(path.name for path in part.rglob("aligned*.zip"))
    advice = f" Unpack {archives[0]} there." if archives else ""
    raise DataError(f"{str(part)!r} has no folder Image/aligned.{advice} {_LAYOUT}")


def _choose_classes(rows: Sequence[Row]) -> tuple[str, ...]:
    beyond = sum(row.label > len(BASIC_EMOTIONS) for row in rows)
    return COMPOUND_EMOTIONS if beyond > _COMPOUND_SHARE * len(rows) else BASIC_EMOTIONS


def _compare_counts(rows: Sequence[Row], classes: tuple[str, ...]) -> list[str]:
    differences = []
    for split in ("train", "test"):
        labels = [row.label - 1 for row in rows if row.split == split]
        if classes == BASIC_EMOTIONS:
            counts = np.bincount(labels, minlength=len(classes)).tolist()
            differences += [
                f"{split} {name} {have:,} ({published:,})"
                for name, have, published in zip(classes, counts, _BASIC_COUNTS[split], strict=True)
                if have != published
            ]
        elif len(labels) != _COMPOUND_SUMS[split]:
            differences.append(f"{split} {len(labels):,} ({_COMPOUND_SUMS[split]:,})")
    if not differences:
        return []
    return [f"RAF-DB has other numbers of images than published (in brackets): {enumerate_some(differences, 4)}"]


def _note_unlisted(folder: Path, rows: Sequence[Row]) -> list[str]:
    listed = {aligned_name(row.name) for row in rows}
    with os.scandir(folder) as entries:
        extra = sum(entry.name not in listed and entry.name.endswith(".jpg") for entry in entries)
    return [f"ignored {count_of(extra, 'image')} in {folder.name}/ that the list does not name"] if extra else []
