"""One file of answers: Arrow's IPC format, which is read by mapping it into memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from dropkd.errors import DataError

__all__ = ["Columns", "checksum", "map_shard", "write_shard"]

# The shape of one image and the type of its numbers, by column.
Columns = Mapping[str, tuple[tuple[int, ...], str]]
_BLOCK = 1 << 22


def write_shard(path: Path, columns: Mapping[str, Tensor]) -> None:
    """Write columns (rows, ...) of the same number of rows.

    Raises:
        OSError: the disk is full or can't be written.
    """
    arrays = {}
    for name, values in columns.items():
        width = math.prod(values.shape[1:])
        flat = pa.array(values.contiguous().numpy().reshape(-1))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, width)
    table = pa.table(arrays)
    # One batch: a row's place is a matter of arithmetic then.
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def map_shard(path: Path, columns: Columns, rows: int) -> dict[str, NDArray[np.generic]]:
    """Return each column as an array (rows, ...) that is read from disk when it is looked at.

    Args:
        path: the file.
        columns: what must be in it.
        rows: how many rows it must have.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        found = {}
        for name, (shape, number) in columns.items():
            flat = table[name].chunk(0).flatten().to_numpy(zero_copy_only=True)
            if flat.dtype != np.dtype(number):
                raise ValueError(f"{name} is of type {flat.dtype}, not {number}")
            found[name] = flat.reshape(rows, *shape)
    except (pa.ArrowException, KeyError, ValueError, IndexError, OSError) as error:
        raise DataError(f"{str(path)!r} is damaged: {str(error).splitlines()[0]}.") from error
    return found


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file's content."""
    total = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total = zlib.crc32(block, total)
    return total
