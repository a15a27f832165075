"""Cuts the splits that a data set does not come with, by hashes of seed and path."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from dropkd.data.labels import count_labels, rows_by_class
from dropkd.data.listing import WHOLE, Listing
from dropkd.data.stratifying import stratify
from dropkd.data.wording import enumerate_some
from dropkd.errors import ConfigError, DataError

__all__ = ["cut_splits"]

# How many classes a message names.
_LISTED = 10

_Rows = dict[str, NDArray[np.bool_]]


def cut_splits(listing: Listing, keep: NDArray[np.bool_], seed: int, fraction: float, notes: list[str]) -> _Rows:
    """Return the rows of train, val and (perhaps) test; cut those that the data set doesn't have.

    Who goes where depends on seed and relative path alone, so an added image moves few others. Where images have
    several labels, it depends on the other images as well, since each part gets its share of every label.

    Args:
        listing: all images.
        keep: (N,) the images to use.
        seed: picks who is cut.
        fraction: the share that is cut, for each split.
        notes: what was done is added to them.

    Raises:
        DataError: a class has too few images.
        ConfigError: the fraction is out of range.
    """
    rows = {name: keep & (listing.split == name) for name in dict.fromkeys(listing.split.tolist())}
    percent = f"{100 * fraction:.3g} %"
    if WHOLE in rows:
        parts = _cut_by_class(listing, rows[WHOLE], ("test", "val"), seed, fraction)
        counts = ", ".join(f"{parts[n].sum()} {n}" for n in ("train", "val", "test"))
        by = "labels" if listing.multi_label else "class"
        notes.append(f"split by {by} with seed {seed}, {percent} each for val and test: {counts} images")
        _note_rare(listing, parts, notes)
        return parts
    if "val" not in rows and fraction == 0:
        notes.append("no validation split: all training images are trained on, and the last epoch is kept")
    elif "val" not in rows:
        cut = _cut_by_class(listing, rows["train"], ("val",), seed, fraction)
        notes.append(
            f"no {listing.kind('val')}: {cut['val'].sum()} images cut from {listing.place('train')} for validation "
            f"({percent} by {'labels' if listing.multi_label else 'class'}, seed {seed})"
        )
        rows = {**rows, **cut}
    _note_rare(listing, rows, notes)
    if "test" not in rows:
        notes.append(f"no {listing.kind('test')}: there will be no test figures")
    return rows


def _note_rare(listing: Listing, rows: _Rows, notes: list[str]) -> None:
    """Note which labels a split has no image of, so that they count in no mean there."""
    if not listing.multi_label:
        return
    for name in [name for name in ("val", "test") if name in rows]:
        counts = count_labels(listing.target[rows[name]], len(listing.classes))
        lost = [repr(listing.classes[k]) for k in np.flatnonzero(counts == 0)]
        if lost:
            some = enumerate_some(lost, _LISTED)
            notes.append(f"no image of {name} has the label {some}, which counts in no mean there")


def _cut_by_class(
    listing: Listing, chosen: NDArray[np.bool_], names: tuple[str, ...], seed: int, fraction: float
) -> _Rows:
    """Cut parts of equal size from the chosen rows, class by class; train keeps the rest."""
    if not 0 < fraction < 1 / len(names):
        raise ConfigError(
            f"data.validation_fraction must lie between 0 and {1 / len(names):g}, both excluded, got {fraction!r}."
        )
    if listing.multi_label:
        return _cut_by_labels(listing, chosen, names, seed, fraction)
    _check_counts(listing, chosen, len(names) + 1)
    parts = {name: np.zeros(len(chosen), bool) for name in ("train", *names)}
    every = np.flatnonzero(chosen)
    for within in rows_by_class(listing.target[every], len(listing.classes)):
        rows = every[within]
        keys = [_hash(seed, listing.relative[i]) for i in rows]
        order = rows[sorted(range(len(rows)), key=keys.__getitem__)]
        size = min(max(1, round(len(rows) * fraction)), (len(rows) - 1) // len(names))
        for k, name in enumerate(names):
            parts[name][order[k * size : (k + 1) * size]] = True
        parts["train"][order[len(names) * size :]] = True
    return parts


def _cut_by_labels(
    listing: Listing, chosen: NDArray[np.bool_], names: tuple[str, ...], seed: int, fraction: float
) -> _Rows:
    """Cut parts with their share of each label; images come in the order of their hashes."""
    rows = np.flatnonzero(chosen)
    if len(rows) <= len(names):
        raise DataError(
            f"{str(listing.root)!r}: {len(rows)} images are too few to cut {' and '.join(names)} from them. Add images."
        )
    keys = [_hash(seed, listing.relative[i]) for i in rows]
    order = np.array(sorted(range(len(rows)), key=keys.__getitem__))
    given = stratify(listing.target[rows], order, (1 - fraction * len(names), *(fraction for _ in names)))
    parts = {name: np.zeros(len(chosen), bool) for name in ("train", *names)}
    for number, name in enumerate(parts):
        parts[name][rows[given == number]] = True
    return parts


def _hash(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{path}".encode(errors="surrogateescape")).digest()


def _check_counts(listing: Listing, chosen: NDArray[np.bool_], least: int) -> None:
    counts = np.bincount(listing.target[chosen], minlength=len(listing.classes))
    few = np.flatnonzero(counts < least)
    if few.size:
        listed = ", ".join(f"{listing.classes[k]!r} has {counts[k]}" for k in few[:_LISTED])
        rest = f" and {few.size - _LISTED} more classes" if few.size > _LISTED else ""
        things = "folders" if listing.in_folders else "splits"
        own = (
            f"{listing.place('val')} and {listing.place('test')} {things}" if least > 2 else f"a {listing.kind('val')}"
        )
        raise DataError(
            f"{str(listing.root)!r}: each class needs {least} images at least, one for each split that is cut from "
            f"them, but {listed}{rest}. Add images, leave the class out, or give {own} of your own."
        )
