"""The images below a folder, at any depth: names of folders say nothing there."""

from __future__ import annotations

from pathlib import Path

from dropkd.contracts import NO_LABEL
from dropkd.data.folder import Entries, list_root, note_ignored, scan_folder
from dropkd.data.listing import SPLIT_NAMES, WHOLE, Listing
from dropkd.errors import DataError

__all__ = ["list_pool"]


def list_pool(root: Path) -> Listing:
    """Return the image files of a folder and of all folders in it; nothing is opened.

    Hidden files and folders are passed over, links are followed. Where there is a ``train`` folder, ``val`` and
    ``test`` beside it belong to a data set of which only the training images are taken.

    Raises:
        DataError: the folder is missing, can't be read or holds no images.
    """
    top = list_root(root)
    held = [folder for folder in top.folders if SPLIT_NAMES.get(folder.name.lower()) in ("val", "test")]
    if not any(SPLIT_NAMES.get(folder.name.lower()) == "train" for folder in top.folders):
        held = []
    images, others = _collect(root, Entries(top.images, [f for f in top.folders if f not in held], top.others))
    if not images:
        what = f" but {len(others):,} other files" if others else ""
        raise DataError(f"the folder {str(root)!r} holds no images{what}.")
    notes = note_ignored(root, held, "folder beside train/", "folders beside train/")
    notes += note_ignored(root, others, "file that is no image", "files that are no images")
    return Listing.of_files(root, (), ((path, WHOLE, NO_LABEL) for path in images), notes=notes)


def _collect(root: Path, top: Entries) -> tuple[list[Path], list[Path]]:
    """Return all images and all other files; each folder is entered once, whatever links lead to it."""
    images, others = list(top.images), list(top.others)
    entered = {root.resolve()}
    waiting = list(top.folders)
    while waiting:
        folder = waiting.pop()
        if (real := folder.resolve()) in entered:
            continue
        entered.add(real)
        entries = scan_folder(folder)
        images += entries.images
        others += entries.others
        waiting += entries.folders
    return images, sorted(others)
