"""Images without labels, from any place that images come from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.contracts import NO_LABEL
from dropkd.data.arrow import list_tables, list_unlabelled_tables
from dropkd.data.finding import find_form, list_plain_folder
from dropkd.data.listing import WHOLE, Listing
from dropkd.data.manifest import list_manifest, list_unlabelled_manifest
from dropkd.data.opening import keep_readable, make_split, read_listing
from dropkd.data.pool import list_pool
from dropkd.data.remembering import Remembering
from dropkd.data.shards import list_shards, list_unlabelled_shards
from dropkd.data.source import Source, read_source
from dropkd.data.split import ImageData, Split
from dropkd.data.wording import count_of
from dropkd.errors import DataError

__all__ = ["UnlabelledImages", "open_unlabelled"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UnlabelledImages:
    """Opened images without labels.

    Args:
        split: the images, all with the target ``NO_LABEL``.
        left_out: how many were left out, by reason: ``unreadable``, or the split of the labelled data they are in.
        known: how many are among the labelled training images too.
        notes: what was done that the user should know.
    """

    split: Split
    left_out: Mapping[str, int]
    known: int
    notes: tuple[str, ...]


def open_unlabelled(
    path: str | Path,
    data: ImageData,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
    remembering: Remembering | None = None,
) -> UnlabelledImages:
    """Open images whose labels are not known or not to be read; every file is read and decoded once.

    A folder's images are taken from any depth, whatever its folders are called; where it has a ``train`` folder, those
    of ``val`` and ``test`` beside it are left alone. Of a manifest the labels are not read and need not be there. Of a
    data set in any other form that :func:`~dropkd.data.open_data` knows, the training images are taken.

    Images that are in the validation or test split of the labelled data are left out: a student that had learned from
    them could not be judged by them.

    Args:
        path: the folder, the manifest, or the name.
        data: the labelled data.
        skip_unreadable: leave out files that can't be decoded instead of raising an error.
        progress: called with the number of files read so far and of all.
        remembering: how far what earlier calls have read is trusted.

    Raises:
        DataError: there are no images, or none that may be used, or some can't be read.
        ConfigError: an option of the data set is unknown.
    """
    listing = _list_images(read_source(path))
    notes = list(listing.notes)
    readings = read_listing(listing, progress, remembering)
    keep = keep_readable(listing, readings, skip_unreadable, notes)
    split = make_split("unlabelled", listing, readings, np.flatnonzero(keep))
    split = replace(split, targets=np.full(len(split), NO_LABEL, np.int64), classes=())
    held = {part.name: _find_shared(split, part) for part in (data.val, data.test) if part is not None}
    leaked = np.logical_or.reduce([np.zeros(len(split), bool), *held.values()])
    left_out = {name: int(rows.sum()) for name, rows in held.items()} | {"unreadable": int((~keep).sum())}
    left_out = {name: count for name, count in left_out.items() if count}
    if leaked.any():
        where = ", ".join(f"{left_out[name]:,} in {name}" for name in held if name in left_out)
        notes.append(
            f"left out {leaked.sum():,} of {count_of(len(split), 'unlabelled image')} that the student is judged by "
            f"({where})"
        )
    split = split.take(np.flatnonzero(~leaked))
    if not len(split):
        because = f": of {count_of(len(listing.paths), 'image')}, {_list_reasons(left_out)}" if left_out else ""
        raise DataError(f"{str(path)!r} holds no unlabelled images that can be used{because}.")
    known = int(_find_shared(split, data.train).sum())
    if known:
        them = "image is" if known == 1 else "images are"
        notes.append(f"{known:,} of {len(split):,} unlabelled {them} among the labelled training images too")
    for note in notes:
        _LOG.info("%s: %s", listing.root, note)
    return UnlabelledImages(split, left_out, known, tuple(notes))


def _list_images(source: Source) -> Listing:
    form = find_form(source)
    listing = _WITHOUT_LABELS.get(form, form)(source)
    rows = np.flatnonzero(np.isin(listing.split, ("train", WHOLE)))
    if not len(rows):
        raise DataError(f"{source.text!r} holds no images.")
    return listing if len(rows) == len(listing.paths) else listing.take(rows)


def _list_folder(source: Source) -> Listing:
    source.check_options()
    return list_pool(source.path)


# Forms whose labels need not be there; of the others the classes are listed and then forgotten.
_WITHOUT_LABELS: Mapping[Callable[[Source], Listing], Callable[[Source], Listing]] = {
    list_plain_folder: _list_folder,
    list_manifest: list_unlabelled_manifest,
    list_tables: list_unlabelled_tables,
    list_shards: list_unlabelled_shards,
}


def _find_shared(split: Split, other: Split) -> NDArray[np.bool_]:
    """Return which images of a split are in another one too, by the content of their files or by their pixels."""
    shared = _are_among(split.contents, other.contents)
    if split.pack is not None and other.pack is not None and split.pack.array.shape[1:] == other.pack.array.shape[1:]:
        # The same image may be a file here and a row of an array there.
        shared |= _are_among(split.pack.digests, other.pack.digests)
    return shared


def _are_among(some: tuple[bytes, ...], others: tuple[bytes, ...]) -> NDArray[np.bool_]:
    known = set(others)
    return np.array([digest in known for digest in some], bool)


def _list_reasons(left_out: Mapping[str, int]) -> str:
    words = {"unreadable": "can't be read"}
    return ", ".join(f"{count:,} {words.get(name, f'are in {name}')}" for name, count in left_out.items())
