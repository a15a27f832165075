"""Large JPEGs, decoded at no more of their size than what is shown of them needs."""

from __future__ import annotations

from collections.abc import Callable

from dropkd.data.images import Picture, as_seen, explained, measure_as_seen, open_image, read_orientation
from dropkd.data.reading import PACK_SIDE

__all__ = ["DECODING", "EVALUATION_PIXELS", "TRAINING_PIXELS", "Box", "Jpeg", "read_picture"]

# Must grow whenever a decoded pixel changes: answers to other pixels are kept under it. 1 was: all at full size.
DECODING = 2

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
        data: the bytes of the file.
        opened: the file opened, not yet decoded.
        name: what errors call it.
        pixels: how many pixels each way must remain of what is shown for each pixel of a view.

    Raises:
        DataError: it can't be decoded (while it is).
    """

    def __init__(self, data: bytes, opened: Picture, name: str, pixels: int) -> None:
        self._data = data
        # Serves the first decoding; the next ones open the file again.
        self._opened: Picture | None = opened
        self._name = name
        self._pixels = pixels
        self._decoded: dict[int, Picture] = {}
        self._turned = read_orientation(opened)
        self.height, self.width = measure_as_seen(opened)

    def decode(self, scale: int = 1) -> Picture:
        """Return the whole image as RGB, upright, with its sides divided by ``scale`` (1, 2, 4, 8) and rounded up."""
        if scale not in self._decoded:
            with explained(self._name):
                image, self._opened = self._opened or open_image(self._data), None
                if scale > 1:
                    image.draft(None, (image.width // scale, image.height // scale))
                self._decoded[scale] = as_seen(image)
        return self._decoded[scale]

    def take(self, box: Box, size: tuple[int, int]) -> tuple[Picture, Box]:
        """Return a picture that shows a part finely enough, and where the part lies in it.

        Args:
            box: left, upper, right and lower edge of the part in pixels of the full image.
            size: height and width of the view.
        """
        scale = self.choose_scale(box, size)
        picture = self.decode(scale)
        # The last pixel of a scaled line may stand for fewer full ones; a turned image begins with it.
        right = picture.width - self.width / scale if self._turned in _LEFT_IS_LAST else 0.0
        down = picture.height - self.height / scale if self._turned in _TOP_IS_LAST else 0.0
        left, upper, far, low = (edge / scale for edge in box)
        # Rounding must not reach past the border.
        far, low = min(picture.width, far + right), min(picture.height, low + down)
        return picture, (left + right, upper + down, far, low)

    def choose_scale(self, box: Box, size: tuple[int, int]) -> int:
        """Return what the sides may be divided by for a view of a part; see :meth:`take`."""
        # Up to here images may be packed, which must not change what is seen of them.
        if max(self.height, self.width) <= PACK_SIDE:
            return 1
        most = min((box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0]) / self._pixels
        return next((scale for scale in _SCALES if scale <= most), 1)


def read_picture(read: Callable[[], bytes], name: str, pixels: int = TRAINING_PIXELS) -> Picture | Jpeg:
    """Return the image whose bytes a function gives: a JPEG to be decoded later, any other one decoded.

    Raises:
        DataError: it can't be read, or is no image.
    """
    with explained(name):
        data = read()
        image = open_image(data)
        return Jpeg(data, image, name, pixels) if image.format == "JPEG" else as_seen(image)
