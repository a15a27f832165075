"""Opens a data set, whatever form it comes in, with train, validation and test splits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.finding import find_images
from dropkd.data.labels import count_labels
from dropkd.data.listing import WHOLE, Listing
from dropkd.data.reading import Readings, measure_pixels, read_images
from dropkd.data.remembering import Remembering, read_files
from dropkd.data.source import read_source
from dropkd.data.split import ImageData, Pack, Split
from dropkd.data.splitting import cut_splits
from dropkd.data.stores import FileStore, take_rows
from dropkd.data.wording import count_of
from dropkd.errors import DataError

__all__ = ["keep_readable", "make_split", "open_data", "read_listing"]

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
    remembering: Remembering | None = None,
) -> ImageData:
    """Open a data set; every file is read and decoded once, so that training meets no bad file.

    What was read before and is the same file still is not read again, see :func:`dropkd.data.remembering.read_files`.

    Mostly it is a folder that holds ``train/CLASS/*`` and perhaps ``val/CLASS/*`` (or ``valid``) and
    ``test/CLASS/*``, or ``CLASS/*`` alone; :func:`dropkd.data.finding.find_images` tells the other forms. Where
    there is no validation split, one is cut from the training images by the hash of seed and path, class by class;
    a data set without splits is cut in three.

    Args:
        path: the folder, the manifest, or the name.
        seed: picks the images of the splits that are cut.
        validation_fraction: the share of the images that validation gets (test as much, where it is cut too);
            with 0, where there are training images of their own, there is no validation split.
        skip_unreadable: leave out files that can't be decoded instead of raising an error.
        progress: called with the number of files read so far and of all.
        remembering: how far what earlier calls have read is trusted.

    Raises:
        DataError: the data set, its classes or its images are not what training needs.
        ConfigError: the fraction or an option of the data set is out of range.
    """
    listing = find_images(read_source(path), progress)
    notes = list(listing.notes)
    readings = read_listing(listing, progress, remembering)
    keep = keep_readable(listing, readings, skip_unreadable, notes)
    _check_classes(listing, keep)
    rows = cut_splits(listing, keep, seed, validation_fraction, notes)
    splits = {name: make_split(name, listing, readings, np.flatnonzero(chosen)) for name, chosen in rows.items()}
    sizes = readings.sizes[keep]
    height, width = np.median(readings.sizes[rows["train"]], axis=0).astype(int).tolist()
    for note in notes:
        _LOG.info("%s: %s", listing.root, note)
    return ImageData(
        listing.root, listing.classes, splits["train"], splits.get("val"), splits.get("test"), (height, width),
        bool((sizes == (height, width)).all()), tuple(notes),
    )  # fmt: skip


def read_listing(
    listing: Listing, progress: Callable[[int, int], None] | None = None, remembering: Remembering | None = None
) -> Readings:
    """Return what reading all images of a listing gives."""
    if listing.readings is not None:
        return listing.readings
    if listing.pixels is not None:
        return measure_pixels(listing.pixels)
    images = listing.images
    if isinstance(images, FileStore):
        return read_files(images, listing.root, remembering or Remembering(), progress)
    return read_images(images, progress)


def keep_readable(listing: Listing, readings: Readings, skip_unreadable: bool, notes: list[str]) -> NDArray[np.bool_]:
    """Return which images can be read; a note says which can't.

    Raises:
        DataError: some can't, and they are not to be skipped.
    """
    keep = np.ones(len(listing.paths), bool)
    root = str(listing.root)
    bad = sorted(readings.failures)
    keep[bad] = False
    told = [*listing.mistakes, *(f"{listing.relative[i]}: {readings.failures[i]}" for i in bad[:_LISTED])]
    count = len(listing.mistakes) + len(bad)
    if count:
        listed = told[:_LISTED] + ([f"and {count - _LISTED} more"] if count > _LISTED else [])
        what = f"{len(bad)} of {len(listing.paths)} images can't be read"
        if listing.mistakes:
            what = f"{count_of(len(listing.mistakes), 'mistake')}" + (f", and {what}" if bad else "")
        if not skip_unreadable:
            lines = "".join(f"\n  {line}" for line in listed)
            raise DataError(
                f"{root!r}: {what}:{lines}\n"
                "Mend or remove them, or leave them out with --skip-unreadable (data.skip_unreadable=true)."
            )
        what = f"{len(bad)} of {len(listing.paths)} images that can't be read" if not listing.mistakes else what
        notes.append(f"skipped {what} ({'; '.join(listed)})")
    return keep


def _check_classes(listing: Listing, keep: NDArray[np.bool_]) -> None:
    for name in np.unique(listing.split).tolist():
        counts = count_labels(listing.target[keep & (listing.split == name)], len(listing.classes))
        if not counts.all() and listing.needs_classes(name):
            lost = ", ".join(repr(listing.classes[k]) for k in np.flatnonzero(counts == 0))
            where = "" if name == WHOLE else f" in {listing.place(name)}"
            raise DataError(f"{str(listing.root)!r}: no image of class {lost} can be read{where}.")


def make_split(name: str, listing: Listing, readings: Readings, rows: NDArray[np.int64]) -> Split:
    """Return these images of a listing as a split."""
    paths = tuple(listing.paths[i] for i in rows)
    digests = tuple(readings.digests[i] for i in rows)
    pack = None if readings.pixels is None else Pack(readings.pixels, rows, listing.pixels is None)
    store = take_rows(listing.store, rows)
    sizes = readings.sizes[rows]
    return Split(name, paths, listing.target[rows], listing.classes, listing.root, digests, pack, store, sizes)
