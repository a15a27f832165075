"""Lists what is to be checked, also where it is not in order and training would refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dropkd.data.check.subject import Subject
from dropkd.data.check.tree import Tree, walk_tree
from dropkd.data.finding import find_form, list_plain_folder
from dropkd.data.listing import WHOLE, IncompleteListingError, Listing
from dropkd.data.source import Source
from dropkd.data.splitting import cut_splits
from dropkd.errors import DataError

__all__ = ["Gathered", "assign_splits", "gather"]


@dataclass(frozen=True)
class Gathered:
    """What there is to check.

    Args:
        listing: the images.
        refusal: why training would not take them; empty where it would.
        tree: what the folder holds, where it is a plain folder of images.
    """

    listing: Listing
    refusal: str = ""
    tree: Tree | None = None


def gather(source: Source) -> Gathered:
    """List a data set; where its folder is not in order, list the images all the same.

    Raises:
        DataError: it can't be listed at all, or holds no images.
        ConfigError: an option that this form of data does not have.
    """
    list_form = find_form(source)
    tree = walk_tree(source.path) if list_form is list_plain_folder and _is_folder(source.path) else None
    try:
        return Gathered(list_form(source), tree=tree)
    except IncompleteListingError as error:
        return Gathered(error.listing, str(error), tree)
    except DataError as error:
        listing = tree.as_listing() if tree is not None else None
        if listing is None or not listing.paths:
            raise
        return Gathered(listing, str(error), tree)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def assign_splits(listing: Listing, seed: int, fraction: float, notes: list[str]) -> tuple[Subject, str]:
    """Return the images with their splits, cut as training would cut them, and why that can't be done, or nothing.

    Args:
        listing: the images.
        seed: picks who is cut.
        fraction: the share that is cut, for each split.
        notes: what was done is added to them.

    Raises:
        ConfigError: the fraction is out of range.
    """
    split = listing.split.astype("<U5")
    if listing.target.ndim == 1 and (listing.target < 0).any():
        return Subject(listing, split), ""
    if WHOLE not in split and ("val" in split or "train" not in split):
        return Subject(listing, split), ""
    try:
        rows = cut_splits(listing, np.ones(len(split), bool), seed, fraction, notes)
    except DataError as error:
        return Subject(listing, split), str(error)
    for name, chosen in rows.items():
        split[chosen] = name
    return Subject(listing, split), ""
