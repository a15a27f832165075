"""One training view of one image, made again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.data.augment import Augmentation
from dropkd.data.loaders import choose_source
from dropkd.data.recipes import Recipe
from dropkd.data.split import Split
from dropkd.errors import DataError

__all__ = ["render_view"]


def render_view(
    split: Split,
    index: int,
    *,
    epoch: int,
    size: tuple[int, int],
    recipe: Recipe,
    seed: int = 0,
    views: tuple[str, ...] = ("standard",),
    view: int = 0,
    repeat: int = 0,
) -> NDArray[np.uint8]:
    """Return the pixels of a training view, (H, W, 3) uint8 RGB, as :class:`TrainLoader` gives them.

    They depend on what is named here alone: not on the batch that the image was in, nor on what was loaded before.

    Args:
        split: the images.
        index: the number of the image in it.
        epoch: from 0.
        size: height and width of the views.
        recipe: the random changes.
        seed: of the run.
        views: the kinds of view that the method asks for, ``Method.views``.
        view: which of these.
        repeat: how often the image was shown before in this epoch (uneven sampling).

    Raises:
        DataError: the split has no such image, or it can't be read.
    """
    if not 0 <= index < len(split):
        raise DataError(f"the split {split.name!r} has the images 0 to {len(split) - 1}, not {index}.")
    augmentation = Augmentation(recipe, size, seed, views)
    images = [choose_source(split)[index]]
    pixels: NDArray[np.uint8] = augmentation.render(images, np.array([index]), epoch, np.array([repeat]))[view, 0]
    return pixels
