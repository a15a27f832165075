"""Single images of a data set by their paths, to be looked at: for data that is not just a folder of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL import Image

from dropkd.data.finding import find_images
from dropkd.data.images import Picture, decode_from
from dropkd.data.source import read_source
from dropkd.errors import DataError

__all__ = ["ListedPictures"]


class ListedPictures:
    """The images that a data set lists.

    Args:
        source: the data set as it is named for training.

    Raises:
        DataError: it is not there any more.
        ConfigError: it is no name of a data set.
    """

    def __init__(self, source: str | Path) -> None:
        self._listing = find_images(read_source(source))
        self._rows = {path: row for row, path in enumerate(self._listing.relative)}

    def load(self, path: str) -> Picture:
        """Return the image of a path as :attr:`dropkd.data.Split.relative_paths` has it.

        Raises:
            DataError: there is none, or it can't be read.
        """
        row = self._rows.get(path)
        if row is None:
            raise DataError(f"{str(self._listing.root)!r} lists no image {path!r}.")
        pixels = self._listing.pixels
        if pixels is not None:
            return Image.fromarray(pixels[row])
        return decode_from(partial(self._listing.images.read, row), str(self._listing.paths[row]))
