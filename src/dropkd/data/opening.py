"""Opens a folder of images as a data set with train, validation and test splits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.folder import WHOLE, FolderFiles, find_files
from dropkd.data.reading import Readings, read_images
from dropkd.data.split import ImageData, Pack, Split
from dropkd.errors import ConfigError, DataError

__all__ = ["open_data"]

_LOG = logging.getLogger(__name__)
# How many unreadable files a message lists.
_LISTED = 10


def open_data(
    path: str | Path,
    *,
    seed: int = 0,
    validation_fraction: float = 0.1,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Open a folder of images; every file is read and decoded once, so that training meets no bad file.

    The folder holds ``train/CLASS/*`` and mostly ``val/CLASS/*`` (or ``valid``) and ``test/CLASS/*``, or
    ``CLASS/*`` alone. Where there is no validation split, one is cut from the training images by the hash of
    seed and path, class by class; a folder without splits is cut in three.

    Args:
        path: the folder.
        seed: picks the images of the splits that are cut.
        validation_fraction: the share of the images that validation gets (test as much, where it is cut too);
            with 0, where there is a ``train`` folder, there is no validation split.
        skip_unreadable: leave out files that can't be decoded instead of raising an error.
        progress: called with the number of files read so far and of all.

    Raises:
        DataError: the folder, its classes or its images are not what training needs.
        ConfigError: the fraction is out of range.
    """
    root = Path(path).expanduser()
    found = find_files(root)
    table = _Table.build(found)
    readings = read_images(table.paths, progress)
    notes = list(found.notes)
    keep = _keep_readable(root, table, readings, skip_unreadable, notes)
    rows = {name: keep & (table.split == name) for name in found.files}
    rows = _cut_splits(root, table, rows, seed, validation_fraction, notes)
    splits = {name: _make_split(name, root, table, readings, np.flatnonzero(chosen)) for name, chosen in rows.items()}
    sizes = readings.sizes[keep]
    height, width = np.median(readings.sizes[rows["train"]], axis=0).astype(int).tolist()
    for note in notes:
        _LOG.info("%s: %s", root, note)
    return ImageData(
        root, found.classes, splits["train"], splits.get("val"), splits.get("test"), (height, width),
        bool((sizes == (height, width)).all()), tuple(notes),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Table:
    """All files of a data set, one row each."""

    classes: tuple[str, ...]
    paths: list[Path]
    relative: list[str]
    split: NDArray[np.str_]
    target: NDArray[np.int64]

    @classmethod
    def build(cls, found: FolderFiles) -> _Table:
        rows = [
            (path, name, label)
            for name, classes in found.files.items()
            for label, class_name in enumerate(found.classes)
            for path in classes[class_name]
        ]
        paths = [path for path, _, _ in rows]
        relative = [path.relative_to(found.root).as_posix() for path in paths]
        target = np.array([label for _, _, label in rows], np.int64)
        return cls(found.classes, paths, relative, np.array([name for _, name, _ in rows]), target)


def _keep_readable(
    root: Path, table: _Table, readings: Readings, skip_unreadable: bool, notes: list[str]
) -> NDArray[np.bool_]:
    keep = np.ones(len(table.paths), bool)
    if readings.failures:
        bad = sorted(readings.failures)
        keep[bad] = False
        listed = [f"{table.relative[i]}: {readings.failures[i]}" for i in bad[:_LISTED]]
        listed += [f"and {len(bad) - _LISTED} more"] if len(bad) > _LISTED else []
        if not skip_unreadable:
            lines = "".join(f"\n  {line}" for line in listed)
            raise DataError(
                f"{str(root)!r}: {len(bad)} of {len(table.paths)} images can't be read:{lines}\n"
                "Mend or remove them, or leave them out with --skip-unreadable (data.skip_unreadable=true)."
            )
        notes.append(f"skipped {len(bad)} of {len(table.paths)} images that can't be read ({'; '.join(listed)})")
    for name in np.unique(table.split):
        counts = np.bincount(table.target[keep & (table.split == name)], minlength=len(table.classes))
        if not counts.all():
            lost = ", ".join(repr(table.classes[k]) for k in np.flatnonzero(counts == 0))
            where = "" if name == WHOLE else f" in {name}/"
            raise DataError(f"{str(root)!r}: no image of class {lost} can be read{where}.")
    return keep


def _cut_splits(
    root: Path,
    table: _Table,
    rows: dict[str, NDArray[np.bool_]],
    seed: int,
    fraction: float,
    notes: list[str],
) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of train, val and (perhaps) test; cut those that the folder doesn't have."""
    percent = f"{100 * fraction:.3g} %"
    if WHOLE in rows:
        parts = _cut_by_class(root, table, rows[WHOLE], ("test", "val"), seed, fraction)
        counts = ", ".join(f"{parts[n].sum()} {n}" for n in ("train", "val", "test"))
        notes.append(f"split by class with seed {seed}, {percent} each for val and test: {counts} images")
        return parts
    if "val" not in rows and fraction == 0:
        notes.append("no validation split: all training images are trained on, and the last epoch is kept")
    elif "val" not in rows:
        cut = _cut_by_class(root, table, rows["train"], ("val",), seed, fraction)
        notes.append(
            f"no val/ folder: {cut['val'].sum()} images cut from train/ for validation "
            f"({percent} by class, seed {seed})"
        )
        rows = {**rows, **cut}
    if "test" not in rows:
        notes.append("no test/ folder: there will be no test figures")
    return rows


def _cut_by_class(
    root: Path, table: _Table, chosen: NDArray[np.bool_], names: tuple[str, ...], seed: int, fraction: float
) -> dict[str, NDArray[np.bool_]]:
    """Cut parts of equal size from the chosen rows, class by class; train keeps the rest.

    Who goes where depends on seed and relative path alone, so an added image moves few others.
    """
    if not 0 < fraction < 1 / len(names):
        raise ConfigError(
            f"data.validation_fraction must lie between 0 and {1 / len(names):g}, both excluded, got {fraction!r}."
        )
    _check_counts(root, table, chosen, len(names) + 1)
    parts = {name: np.zeros(len(chosen), bool) for name in ("train", *names)}
    for label in range(len(table.classes)):
        rows = np.flatnonzero(chosen & (table.target == label))
        keys = [hashlib.sha256(f"{seed}\0{table.relative[i]}".encode(errors="surrogateescape")).digest() for i in rows]
        order = rows[sorted(range(len(rows)), key=keys.__getitem__)]
        size = min(max(1, round(len(rows) * fraction)), (len(rows) - 1) // len(names))
        for k, name in enumerate(names):
            parts[name][order[k * size : (k + 1) * size]] = True
        parts["train"][order[len(names) * size :]] = True
    return parts


def _check_counts(root: Path, table: _Table, chosen: NDArray[np.bool_], least: int) -> None:
    counts = np.bincount(table.target[chosen], minlength=len(table.classes))
    few = np.flatnonzero(counts < least)
    if few.size:
        listed = ", ".join(f"{table.classes[k]!r} has {counts[k]}" for k in few[:_LISTED])
        rest = f" and {few.size - _LISTED} more classes" if few.size > _LISTED else ""
        folders = "val/ and test/ folders" if least > 2 else "a val/ folder"
        raise DataError(
            f"{str(root)!r}: each class needs {least} images at least, one for each split that is cut from "
            f"them, but {listed}{rest}. Add images, leave the class out, or give {folders} of your own."
        )


def _make_split(name: str, root: Path, table: _Table, readings: Readings, rows: NDArray[np.int64]) -> Split:
    paths = tuple(table.paths[i] for i in rows)
    digests = tuple(readings.digests[i] for i in rows)
    pack = None if readings.pixels is None else Pack(readings.pixels, rows)
    return Split(name, paths, table.target[rows], table.classes, root, digests, pack)
