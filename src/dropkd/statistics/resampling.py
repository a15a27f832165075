"""How far a figure may lie from this one on other images of the same kind: the bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dropkd.statistics.arrays import FloatArray

__all__ = ["Statistic", "count_draws", "draw_statistics", "draw_weights"]

# Takes (D, N), how often each image counts in each draw, and returns (D,) or (D, M).
Statistic = Callable[[FloatArray], FloatArray]

# Draws where they cost little, and where there are a million images.
_MOST_DRAWS, _LEAST_DRAWS, _FREE_CELLS = 1000, 200, 100_000_000
# Weights held at once: 32 MB.
_MOST_CELLS = 4_000_000


def count_draws(images: int) -> int:
    """Return how many times the images are drawn: 1,000, fewer from 100,000 images on, and 200 at least."""
    return max(_LEAST_DRAWS, min(_MOST_DRAWS, _FREE_CELLS // max(1, images)))


def draw_weights(images: int, draws: int | None = None, seed: int = 0) -> Iterator[FloatArray]:
    """Draw the images with replacement, as many as there are, again and again.

    Equal numbers of images are drawn alike, so two networks' figures on the same images can be compared draw by draw.

    Args:
        images: N.
        draws: how many; None: see :func:`count_draws`.
        seed: of the draws.

    Yields:
        (D, N) parts of the draws, each row how often an image was drawn; its sum is N.
    """
    source, left = np.random.default_rng(seed), count_draws(images) if draws is None else draws
    while left:
        size = min(left, max(1, _MOST_CELLS // images))
        weights = np.empty((size, images))
        for row in range(size):
            weights[row] = np.bincount(source.integers(images, size=images), minlength=images)
        yield weights
        left -= size


def draw_statistics(
    statistics: Mapping[str, Statistic], images: int, draws: int | None = None
) -> dict[str, FloatArray]:
    """Return each statistic's values over the draws, (D,) or (D, M)."""
    parts: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for weights in draw_weights(images, draws):
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    return {name: np.concatenate(values) for name, values in parts.items()}
