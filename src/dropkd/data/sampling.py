"""Which images an epoch shows, and in which order: a function of (seed, epoch) alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.data import counters
from dropkd.data.labels import Targets, rows_by_class
from dropkd.data.nearness import Nearness, permute_near
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["SAMPLINGS", "EpochOrder", "count_draws"]

SAMPLINGS = ("shuffle", "balanced", "square-root")

# Keep the order of images and the rounding of shares apart from the views' random numbers, whose keys have more parts;
# the choice within a class has as many, and so a number that no view's stream has.
_ORDER, _ROUNDING, _CHOICE = 2, 3, 1_000


class EpochOrder:
    """The order of the images in each epoch; always as many as there are, so that an epoch stays an epoch.

    ``shuffle`` shows every image once. With ``balanced`` all classes are shown equally often, with ``square-root`` in
    proportion to the square roots of their counts; a class's share differs from that by less than one image. Within a
    class no image is shown again before each has been shown; which of them are left out, or shown once more, changes
    from epoch to epoch.

    Args:
        targets: (N,) the class of each image.
        sampling: one of :data:`SAMPLINGS`.
        seed: any whole number.
        nearness: which images are shown near each other, for shards that are fetched one after another.

    Raises:
        ConfigError: an unknown sampling, or images of several classes each.

    References:
        Mahajan, Girshick, Ramanathan, He, Paluri, Li, Bharambe, van der Maaten, "Exploring the Limits of Weakly
        Supervised Pretraining", ECCV 2018 (square-root sampling).

    Example:
        >>> order = EpochOrder(np.array([0, 0, 0, 1]), "balanced", seed=0)
        >>> index, repeat = order.draw(epoch=0)
        >>> np.bincount(np.array([0, 0, 0, 1])[index]), repeat[index == 3].tolist()
        (array([2, 2]), [0, 1])
    """

    def __init__(self, targets: Targets, sampling: str, seed: int, nearness: Nearness | None = None) -> None:
        if sampling not in SAMPLINGS:
            raise ConfigError(
                f"unknown data.sampling {sampling!r}. There are: {', '.join(SAMPLINGS)}."
                f"{did_you_mean(sampling, SAMPLINGS)}"
            )
        if targets.ndim != 1 and sampling != "shuffle":
            raise ConfigError(
                f"data.sampling: {sampling!r} draws images by their one class, and these have several each. "
                "Leave it at 'shuffle'."
            )
        self.count = len(targets)
        self.sampling = sampling
        self.seed = seed
        self.nearness = nearness
        self._classes: list[tuple[int, NDArray[np.int64]]] = []
        if sampling != "shuffle":
            by_class = rows_by_class(targets, int(targets.max(initial=-1)) + 1)
            self._classes = [(number, rows) for number, rows in enumerate(by_class) if len(rows)]

    def draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (N,) the number of each image, and (N,) how often it was shown before in this epoch."""
        chosen = np.arange(self.count) if self.sampling == "shuffle" else self._choose(epoch)
        key = counters.stream_key(self.seed, epoch, _ORDER)
        if self.nearness is None:
            index = chosen[counters.permutation(key, self.count)]
        else:
            index = chosen[permute_near(key, self.nearness.group[chosen], self.nearness.window)]
        return index, _count_earlier(index) if self.sampling != "shuffle" else np.zeros(self.count, np.int64)

    def _choose(self, epoch: int) -> NDArray[np.int64]:
        key = counters.image_keys(counters.stream_key(self.seed, epoch, _ROUNDING), np.zeros(1, np.int64))
        counts = np.array([len(rows) for _, rows in self._classes])
        draws = count_draws(counts, self.count, self.sampling, float(counters.uniform(key, 0)[0]))
        chosen = []
        for (number, rows), wanted in zip(self._classes, draws.tolist(), strict=True):
            order = counters.permutation(counters.stream_key(self.seed, epoch, _CHOICE, number), len(rows))
            chosen.append(np.resize(rows[order], wanted))
        return np.concatenate(chosen)


def count_draws(counts: NDArray[np.int64], total: int, sampling: str, offset: float) -> NDArray[np.int64]:
    """Return how often each class is shown; they add up to ``total``.

    Shares that are no whole numbers are rounded up or down by one offset for all classes, so that over many offsets
    each class gets its exact share.

    Args:
        counts: (K,) images of each class, all above 0.
        total: images to show.
        sampling: ``balanced`` or ``square-root``.
        offset: in [0, 1).

    Example:
        >>> count_draws(np.array([900, 100]), 1000, "square-root", 0.0)
        array([750, 250])
    """
    weights = np.ones(len(counts)) if sampling == "balanced" else np.sqrt(counts)
    bounds = np.cumsum(weights) / weights.sum() * total
    # The last bound is the total itself, whatever the rounding of the sums before.
    edges = np.concatenate([[0], np.floor(bounds[:-1] + offset), [total]]).astype(np.int64)
    return np.diff(edges)


def _count_earlier(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each entry how many equal ones stand before it."""
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    first = np.searchsorted(ordered, ordered, side="left")
    earlier = np.empty_like(index)
    earlier[order] = np.arange(len(index)) - first
    return earlier
