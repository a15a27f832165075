"""Large JPEGs, decoded at no more of their size than what is shown of them needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dropkd.data.images import Picture, as_seen, explained, measure_as_seen, open_image, read_orientation
from dropkd.data.reading import PACK_SIDE

__all__ = ["DECODING", "EVALUATION_PIXELS", "TRAINING_PIXELS", "Box", "Jpeg", "choose_scale", "read_picture"]

# Must grow whenever a pixel of a view changes: answers to other pixels are kept under it. 1 was: all at full size; 2:
# random parts at fractions of pixels.
DECODING = 3

# How many pixels each way remain of what is shown for each pixel of a view. On parts of two photographs, 640 to 2001
# pixels wide, decoding so and then shrinking is off from shrinking what was decoded at full size by these means (of 255
# levels; median, 95 %, most): at 1 by 1.6, 3.7, 5.3, a little sharper; at 2 by 0.6, 1.1, 1.6. Bicubic shrinking is off
# from bilinear by 1.5 to 1.7, 2.6, 3.1. A random view may be off by as much as that; a frame that accuracy is measured
# on stays closer.
TRAINING_PIXELS, EVALUATION_PIXELS = 1, 2

# What the format's transform can divide both sides by.
_SCALES = (8, 4, 2)
# Orientations in which the camera's last column, or last row, is seen at the left, or at the top.
_LEFT_IS_LAST, _TOP_IS_LAST = (2, 3, 6, 7), (3, 4, 7, 8)

# Left, upper, right and lower edge in pixels of an image, fractions allowed.
Box = tuple[float, float, float, float]


class Jpeg:
    """A JPEG that is decoded when it is known which part of it is shown, and how large.

    Args:
        size: height and width of the whole image, upright.
        turned: how the camera was held, 1 (upright) to 8.
        load: gives the whole image as RGB, upright, with its sides divided by 1, 2, 4 or 8 and rounded up.
        pixels: how many pixels each way must remain of what is shown for each pixel of a view.
    """

    def __init__(
        self, size: tuple[int, int], turned: int, load: Callable[[int], Picture | NDArray[np.uint8]], pixels: int
    ) -> None:
        self.height, self.width = size
        self.turned = turned
        self._load = load
        self._pixels = pixels
        self._decoded: dict[int, Picture | NDArray[np.uint8]] = {}

    def decode(self, scale: int = 1) -> Picture | NDArray[np.uint8]:
        """Return the whole image as RGB, upright, with its sides divided by ``scale`` (1, 2, 4, 8) and rounded up.

        Raises:
            DataError: it can't be decoded.
        """
        if scale not in self._decoded:
            self._decoded[scale] = self._load(scale)
        return self._decoded[scale]

    def watched(self, watch: Callable[[int, Picture], None]) -> Jpeg:
        """Return the same JPEG, which tells what it was decoded to, and at which scale, whenever it is decoded."""

        def load(scale: int) -> Picture | NDArray[np.uint8]:
            picture = self.decode(scale)
            if isinstance(picture, Picture):
                watch(scale, picture)
            return picture

        return Jpeg((self.height, self.width), self.turned, load, self._pixels)

    def take(self, box: Box, size: tuple[int, int]) -> tuple[Picture | NDArray[np.uint8], Box]:
        """Return a picture that shows a part finely enough, and where the part lies in it.

        Args:
            box: left, upper, right and lower edge of the part in pixels of the full image.
            size: height and width of the view.
        """
        scale = self.choose_scale(box, size)
        picture = self.decode(scale)
        height, width = -(-self.height // scale), -(-self.width // scale)
        # The last pixel of a scaled line may stand for fewer full ones; a turned image begins with it.
        right = width - self.width / scale if self.turned in _LEFT_IS_LAST else 0.0
        down = height - self.height / scale if self.turned in _TOP_IS_LAST else 0.0
        left, upper, far, low = (edge / scale for edge in box)
        # Rounding must not reach past the border.
        far, low = min(width, far + right), min(height, low + down)
        return picture, (left + right, upper + down, far, low)

    def choose_scale(self, box: Box, size: tuple[int, int]) -> int:
        """Return what the sides may be divided by for a view of a part; see :meth:`take`."""
        return choose_scale((self.height, self.width), box, size, self._pixels)


def choose_scale(native: tuple[int, int], box: Box, size: tuple[int, int], pixels: int) -> int:
    """Return what the sides of a JPEG may be divided by for a view of a part.

    Args:
        native: height and width of the whole image.
        box: the part.
        size: height and width of the view.
        pixels: how many pixels each way must remain of the part for each pixel of the view.
    """
    # Up to here images may be packed, which must not change what is seen of them.
    if max(native) <= PACK_SIDE:
        return 1
    most = min((box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0]) / pixels
    return next((scale for scale in _SCALES if scale <= most), 1)


def read_picture(read: Callable[[], bytes], name: str, pixels: int = TRAINING_PIXELS) -> Picture | Jpeg:
    """Return the image whose bytes a function gives: a JPEG to be decoded later, any other one decoded.

    Raises:
        DataError: it can't be read, or is no image.
    """
    with explained(name):
        data = read()
        image = open_image(data)
        return _open_jpeg(data, image, name, pixels) if image.format == "JPEG" else as_seen(image)


def _open_jpeg(data: bytes, opened: Picture, name: str, pixels: int) -> Jpeg:
    # What is open already serves the first decoding; the next ones open the file again.
    ready = [opened]

    def load(scale: int) -> Picture:
        with explained(name):
            image = ready.pop() if ready else open_image(data)
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            return as_seen(image)

    return Jpeg(measure_as_seen(opened), read_orientation(opened), load, pixels)
