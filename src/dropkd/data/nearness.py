"""Orders for images that are fetched many at a time: random, but each shard is needed for one stretch of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropkd.data import counters
from dropkd.data.stores import ImageStore, StoreRows

__all__ = ["Nearness", "find_nearness", "permute_near"]

# The column of the random numbers that place an image in its shard's stretch.
_PLACE = 0


@dataclass(frozen=True, eq=False)
class Nearness:
    """Which images of a store should be read near each other, since what holds them is fetched as a whole.

    Args:
        group: (N,) the number of the shard that holds each image.
        window: how many shards the images of a batch may come from.
    """

    group: NDArray[np.int64]
    window: int


def find_nearness(store: ImageStore | None) -> Nearness | None:
    """Return which images of a store should be read near each other; None where any order is as good."""
    if isinstance(store, StoreRows):
        whole = find_nearness(store.store)
        return None if whole is None else Nearness(whole.group[store.rows], whole.window)
    nearness: Nearness | None = getattr(store, "nearness", None)
    return nearness


def permute_near(key: int, group: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Return the rows in a random order in which a shard is in use while ``window`` shards go by.

    The shards are put in a random order. The images of the one at place *p* are spread evenly over the places from *p*
    to *p* + ``window``. So shards come one at a time and go one at a time, and no more than ``window`` + 1 are in use.

    Args:
        key: what the order depends on.
        group: (N,) the shard of each row.
        window: how far the images of a shard are spread.
    """
    groups, ranks = np.unique(group, return_inverse=True)
    place = np.empty(len(groups), np.int64)
    # The key's own hash is for the images.
    place[counters.permutation(counters.stream_key(key, window), len(groups))] = np.arange(len(groups))
    spread = counters.uniform(counters.image_keys(key, np.arange(len(group))), _PLACE)
    return np.argsort(place[ranks] + window * spread, kind="stable")
