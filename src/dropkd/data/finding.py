"""Tells in which form a data set comes, and lists its images."""

from __future__ import annotations

from dropkd.data.folder import list_folder
from dropkd.data.listing import Listing
from dropkd.data.manifest import MANIFEST_SUFFIXES, list_manifest
from dropkd.data.raf_db import is_raf_db, list_raf_db
from dropkd.data.source import Source
from dropkd.data.torchvision_sets import list_torchvision

__all__ = ["find_images"]


def find_images(source: Source) -> Listing:
    """Return all images of a data set; none is opened.

    Raises:
        DataError: what is there is no data set of a known form, or not a whole one.
        ConfigError: an option that this form does not have.
    """
    if source.scheme == "torchvision":
        return list_torchvision(source)
    if source.path.is_file() and source.path.suffix.lower() in MANIFEST_SUFFIXES:
        return list_manifest(source)
    if is_raf_db(source.path):
        return list_raf_db(source)
    source.check_options()
    return list_folder(source.path)
