"""Indexes of shards, kept in a file each so that they are made once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dropkd.data.reading import Readings
from dropkd.data.tar_samples import TarIndex
from dropkd.errors import DropKDError
from dropkd.files import replacing

__all__ = ["IndexFile", "IndexedShard"]

# Raised when what is kept changes its meaning.
_VERSION = 1
_TABLE = pa.schema(
    [
        # Bytes: names in archives need not be text.
        ("name", pa.binary()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("label", pa.binary()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("digest", pa.binary()),
        ("failure", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class IndexedShard:
    """What is known of a shard.

    Args:
        index: its images.
        readings: what reading them gave; None where they are to be read at each opening.
        bytes: the size of the file.
        sha256: the hash of the file, in hexadecimal digits; empty where it was not needed.
    """

    index: TarIndex
    readings: Readings | None
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class IndexFile:
    """The place of a shard's index.

    Args:
        folder: where indexes are kept.
        identity: all that the index depends on; where any of it changes, the index is another.
    """

    folder: Path
    identity: tuple[str | int | None, ...]

    @property
    def path(self) -> Path:
        """The file, which need not be there."""
        text = json.dumps([_VERSION, *self.identity])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.parquet"

    def read(self) -> IndexedShard | None:
        """Return the index, or None where there is none that can be used."""
        try:
            table = pq.read_table(self.path, schema=_TABLE)
            about = json.loads((table.schema.metadata or pq.read_schema(self.path).metadata)[b"dropkd"])
            return _from_table(table, about)
        # Whatever is wrong with it, it can be made again.
        except Exception:
            return None

    def write(self, shard: IndexedShard) -> None:
        """Keep an index; where it can't be written, it is made again next time."""
        with contextlib.suppress(OSError, DropKDError, pa.ArrowException):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial:
                pq.write_table(_to_table(shard), partial, compression="zstd")


def _to_table(shard: IndexedShard) -> pa.Table:
    index, readings = shard.index, shard.readings
    count = len(index.names)
    sizes = np.zeros((count, 2), np.int64) if readings is None else readings.sizes
    columns = {
        "name": [_as_bytes(name) for name in index.names],
        "offset": index.offset,
        "size": index.size,
        "label": [_as_bytes(label) for label in index.labels],
        "height": sizes[:, 0],
        "width": sizes[:, 1],
        "digest": [b""] * count if readings is None else readings.digests,
        "failure": [None if readings is None else readings.failures.get(i) for i in range(count)],
    }
    about = {
        "source": index.source,
        "mistakes": index.mistakes,
        "others": index.others,
        "read": readings is not None,
        "bytes": shard.bytes,
        "sha256": shard.sha256,
    }
    return pa.table(columns, schema=_TABLE.with_metadata({"dropkd": json.dumps(about)}))


def _from_table(table: pa.Table, about: dict[str, Any]) -> IndexedShard:
    index = TarIndex(
        [_as_text(name) for name in table["name"].to_pylist()],
        table["offset"].to_numpy(),
        table["size"].to_numpy(),
        [_as_text(label) for label in table["label"].to_pylist()],
        about["source"],
        about["mistakes"],
        about["others"],
    )
    readings = None
    if about["read"]:
        failures = {i: text for i, text in enumerate(table["failure"].to_pylist()) if text is not None}
        sizes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], axis=1)
        readings = Readings(failures, sizes, table["digest"].to_pylist(), None)
    return IndexedShard(index, readings, about["bytes"], about["sha256"])


def _as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _as_text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")
