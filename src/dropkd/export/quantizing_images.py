"""The images that an int8 file is made by, and those that it is judged by, as the model is fed them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dropkd.data import ImageData, Split
from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.errors import DataError
from dropkd.export.deployed import DeployedModel
from dropkd.models.tapped import TappedNetwork
from dropkd.run import frame_loader

__all__ = ["choose_judges", "feed", "list_calibration"]

_AT_ONCE = 32


def list_calibration(data: ImageData, folder: Path | None, images: int) -> Split:
    """Return the images that ranges are found by: of the training data, or of a folder of the user's.

    Args:
        data: the run's.
        folder: images of any depth, without labels; None: the training split.
        images: how many at most, spread evenly.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if folder is None:
        return data.train.sample(images)
    if not folder.is_dir():
        raise DataError(f"--calibration {str(folder)!r}: there is no such folder.")
    inside = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not inside:
        raise DataError(
            f"--calibration {str(folder)!r}: there is no image in it, however deep. Put images like those that the "
            "model will see into it, some hundred of them, or leave it out to take training images."
        )
    files = tuple(inside)
    return Split("calibration", files, np.zeros(len(files), dtype=np.int64)).sample(images)


def choose_judges(data: ImageData) -> Split:
    """Return the split that the accuracy is measured on: validation, or what there is in its place.

    Whether the file is written depends on it, so it is the test split only where nothing else is held out.
    """
    split = data.val or data.test or data.train
    if not len(split):
        raise DataError(f"The {split.name} split is empty: there is nothing to measure the accuracy on.")
    return split


def feed(network: TappedNetwork, module: DeployedModel, split: Split) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield what the exported model is fed of a split's images, some at a time, with their targets.

    Args:
        network: the run's student, which knows how an image comes to it.
        module: the exported module, which knows whether it normalises them itself.
        split: as it is evaluated, without augmentation.
    """
    for batch in frame_loader(network, split, batch_size=_AT_ONCE):
        pixels = (network.preprocessing.show(batch.images, crop=True) * 255).round().to(torch.uint8)
        inputs = pixels if module.takes_pixels else module.normalize(pixels)
        yield inputs.numpy(), batch.target.numpy()
