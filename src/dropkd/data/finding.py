"""Tells in which form a data set comes, and lists its images."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dropkd.data.arrow import list_tables
from dropkd.data.arrow_opening import is_saved_table
from dropkd.data.fer2013 import is_fer2013, list_fer2013
from dropkd.data.folder import list_folder
from dropkd.data.imagenet import is_imagenet, is_tiny_imagenet, list_imagenet, list_tiny_imagenet
from dropkd.data.listing import Listing
from dropkd.data.manifest import MANIFEST_SUFFIXES, list_manifest, read_header
from dropkd.data.raf_db import is_raf_db, list_raf_db
from dropkd.data.shard_places import is_shards
from dropkd.data.shards import list_shards
from dropkd.data.source import Source
from dropkd.data.torchvision_sets import list_torchvision

__all__ = ["find_form", "find_images", "list_plain_folder"]

# Folders that are more than folders of classes, by what is in them.
_FOLDERS: tuple[tuple[Callable[[Path], bool], Callable[[Source], Listing]], ...] = (
    (is_saved_table, list_tables),
    (is_raf_db, list_raf_db),
    (is_tiny_imagenet, list_tiny_imagenet),
    (is_imagenet, list_imagenet),
)


def find_images(source: Source, progress: Callable[[int, int], None] | None = None) -> Listing:
    """Return all images of a data set; none is opened, but those of shards behind URLs when they are first listed.

    Args:
        source: the data set.
        progress: called with the number of shards looked through and of all, where there are shards.

    Raises:
        DataError: what is there is no data set of a known form, or not a whole one.
        ConfigError: an option that this form does not have.
    """
    form = find_form(source)
    if form is list_shards:
        return list_shards(source, progress)
    with _without_collecting():
        return form(source)


def find_form(source: Source) -> Callable[[Source], Listing]:
    """Return the function that lists the images of such a data set."""
    if source.scheme == "torchvision":
        return list_torchvision
    if source.scheme == "hf":
        return list_tables
    if source.scheme == "wds" or _is(is_shards, source.path):
        return list_shards
    path = source.path
    if path.suffix.lower() in MANIFEST_SUFFIXES and _is(Path.is_file, path):
        return list_fer2013 if is_fer2013(read_header(path)) else list_manifest
    return next((list_form for is_form, list_form in _FOLDERS if _is(is_form, path)), list_plain_folder)


def list_plain_folder(source: Source) -> Listing:
    """Return the images of a folder of classes.

    Raises:
        DataError: the folder is no such.
        ConfigError: there are no options.
    """
    source.check_options()
    return list_folder(source.path)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Hold Python's collector of cycles back: it would go through all paths again and again as a list of them grows."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is(is_form: Callable[[Path], bool], path: Path) -> bool:
    try:
        return is_form(path)
    except OSError:
        # A folder that can't be read is none of these; the plain folder's reader says what is the matter.
        return False
