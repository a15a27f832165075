"""Images in the rows of tables that stay on disk: a row is read when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["ArrowStore"]


@dataclass(frozen=True, eq=False)
class ArrowStore:
    """Images in rows of ``datasets`` tables, which are mapped into memory, not loaded.

    Args:
        tables: the tables, each with the column of the images alone.
        kind: how that column keeps them, as :class:`dropkd.data.arrow_columns.Columns` says.
        places: (N, 2) the number of the table and of the row of each image.
    """

    tables: Sequence[Any]
    kind: str
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> bytes:
        """Return an image as a file would hold it; arrays become PNG, which keeps every bit."""
        table, row = self.places[index].tolist()
        (value,) = self.tables[table][row].values()
        if value is None:
            raise ValueError("the row holds no image")
        if self.kind == "array":
            return _encode_array(np.asarray(value))
        if self.kind == "bytes":
            return bytes(value)
        content = value["bytes"]
        return content if content is not None else _read_path(value["path"])

    def measure(self, index: int) -> int:
        """Return how many bytes an image has."""
        return len(self.read(index))


def _read_path(path: str | None) -> bytes:
    """Return the file that a row names in place of bytes; it may lie in an archive on this machine, not elsewhere."""
    if not path:
        raise ValueError("the row holds neither bytes nor a path")
    if "::" not in path and "://" not in path:
        return Path(path).read_bytes()
    if "://" in path.rpartition("::")[2]:
        raise ValueError(f"the row names {path!r}, which is not on this machine")
    import fsspec

    with fsspec.open(path) as file:
        content: bytes = file.read()
    return content


def _encode_array(values: NDArray[Any]) -> bytes:
    """Return pixels, (H, W), (H, W, C) or (C, H, W) with values of 0 to 255, as a PNG file."""
    if values.ndim == 3 and values.shape[-1] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.size == 0 or values.dtype == object or not (values.ndim == 2 or values.shape[-1] in (3, 4)):
        raise ValueError(f"an array of the shape {values.shape} is no image")
    if values.dtype != np.uint8:
        if not (np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() <= 255):
            raise ValueError("its values must be whole numbers of 0 to 255")
        values = values.astype(np.uint8)
    file = BytesIO()
    # Written to be read once at once: hardly compressed, it is several times faster.
    Image.fromarray(np.ascontiguousarray(values)).save(file, "PNG", compress_level=1)
    return file.getvalue()
