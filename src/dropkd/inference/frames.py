"""From image files to what an exported student is fed: the very pixels that ``dropkd predict RUN`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.geometry import fit_frame
from dropkd.data.jpegs import EVALUATION_PIXELS, read_picture
from dropkd.inference.description import Description

__all__ = ["feed", "show_images"]


def show_images(paths: Sequence[Path], description: Description) -> NDArray[np.uint8]:
    """Return (N, H, W, 3), the centre of each image's frame.

    Raises:
        DataError: a file is missing or can't be read as an image.
    """
    return np.stack([_show_image(path, description) for path in paths])


def _show_image(path: Path, description: Description) -> NDArray[np.uint8]:
    picture = read_picture(path.read_bytes, str(path), EVALUATION_PIXELS)
    frame = fit_frame(picture, description.frame)
    height, width = description.crop
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]


def feed(pixels: NDArray[np.uint8], description: Description) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return what the file takes for pixels (N, H, W, 3): (N, 3, H, W), bytes or normalised numbers."""
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    if description.takes_pixels:
        return planes
    mean, std = (np.array(value, np.float32).reshape(1, 3, 1, 1) for value in (description.mean, description.std))
    normalised: NDArray[np.float32] = (planes.astype(np.float32) / np.float32(255) - mean) / std
    return normalised
