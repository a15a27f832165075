"""Reads the IDX files that MNIST and its successors come in."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import DataError

__all__ = ["read_idx"]

# The third byte of the header: unsigned bytes.
_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes that an IDX file holds, gzipped or not.

    Raises:
        DataError: the file is missing, damaged or holds something else.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"can't read the IDX file {str(path)!r}: {error}.") from error
    if len(data) < 4 or data[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise DataError(f"{str(path)!r} is no IDX file of unsigned bytes, it begins with {data[:4]!r}.")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) - start != math.prod(shape):
        raise DataError(f"{str(path)!r} should hold {shape} bytes, but has {len(data) - start}: it is damaged.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
