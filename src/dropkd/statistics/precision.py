"""Mean average precision on numpy alone, and how far it may lie from this one on other images of the same kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.statistics.arrays import BoolArray, FloatArray
from dropkd.statistics.resampling import draw_weights

__all__ = ["average_precision", "draw_means", "mean_precision"]

# Resamplings of the images: many where they cost nothing, and enough for a deviation where there are many images.
_MOST_DRAWS, _LEAST_DRAWS = 200, 40
_FREE_CELLS = 500_000


def average_precision(scores: NDArray[np.floating], present: BoolArray, weights: FloatArray) -> FloatArray:
    """Return the average precision of one class under each row of weights; nan where no image with weight has it.

    Args:
        scores: (N,) the higher the surer; equal ones count as one rank.
        present: (N,) which images have the class.
        weights: (D, N) how often each image counts.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], present[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    counted = weights[:, order]
    found, seen = (counted * hits).cumsum(axis=1)[:, ends], counted.cumsum(axis=1)[:, ends]
    total = found[:, -1:]
    gained = np.diff(found, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, found / seen, 0.0)
        return np.asarray((gained * precision).sum(axis=1) / total[:, 0], np.float64)


def mean_precision(scores: NDArray[np.floating], target: BoolArray) -> float:
    """Return the mean average precision over the classes that an image has."""
    ones = np.ones((1, len(target)))
    return float(_average([average_precision(s, t, ones) for s, t in zip(scores.T, target.T, strict=True)])[0])


def draw_means(scores: NDArray[np.floating], target: BoolArray) -> FloatArray:
    """Return the mean average precision of images that are drawn from these, with replacement, again and again.

    Two networks' answers to the same images are drawn alike, so that their difference can be taken draw by draw.

    Args:
        scores: (N, K).
        target: (N, K).
    """
    draws = max(_LEAST_DRAWS, min(_MOST_DRAWS, _MOST_DRAWS * _FREE_CELLS // max(1, scores.size)))
    return np.concatenate(
        [
            _average([average_precision(s, t, weights) for s, t in zip(scores.T, target.T, strict=True)])
            for weights in draw_weights(len(target), draws)
        ]
    )


def _average(by_class: list[FloatArray]) -> FloatArray:
    values = np.stack(by_class)
    return np.asarray(np.nansum(values, axis=0) / np.maximum(1, (~np.isnan(values)).sum(axis=0)), np.float64)
