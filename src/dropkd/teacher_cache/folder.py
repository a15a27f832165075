"""A teacher's answers on disk: what they depend on, how they are kept, and which shards are there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor

from dropkd.errors import DataError
from dropkd.files import write_text
from dropkd.teacher_cache.encoding import Part
from dropkd.teacher_cache.key import CacheKey
from dropkd.teacher_cache.shards import Columns, checksum, write_shard

__all__ = ["CacheFolder", "Shard", "cache_root", "list_caches"]

_KEPT = "kept"
_META, _INDEX, _BASIS, _LOCK = "cache.json", "shards.jsonl", "basis.safetensors", "lock"
_FORMAT = 1
# Large enough that a file's header is nothing, small enough to be built again in no time.
_SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Shard:
    """Answers to some images in one random view.

    Args:
        view: number of the view.
        number: of the shard within the view.
        start: the first row.
        stop: the row after the last.
    """

    view: int
    number: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Where it lies in the cache."""
        return f"view-{self.view:04d}/{self.number:06d}.arrow"


class CacheFolder:
    """One cache.

    Args:
        path: its folder, which holds a ``cache.json``.

    Raises:
        DataError: it does not, or a later version of dropkd wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: tuple[tuple[int, int], dict[tuple[int, int], int]] | None = None
        try:
            meta = json.loads((path / _META).read_text(encoding="utf-8"))
            if meta["format"] != _FORMAT:
                raise DataError(
                    f"The teacher cache {str(path)!r} is of format {meta['format']}, and this version of dropkd reads "
                    f"{_FORMAT}. Remove it with `dropkd cache prune`."
                )
            # Earlier versions had what is kept in the key too.
            self.key = CacheKey({name: value for name, value in meta["key"].items() if name != _KEPT})
            self.parts = tuple(Part.from_dict(part) for part in meta["parts"])
            self.rows, self.rows_per_shard = int(meta["rows"]), int(meta["rows_per_shard"])
            self.labels: Mapping[str, str] = meta["labels"]
            self.created = str(meta["created"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{str(path)!r} is no teacher cache, or its {_META} is damaged ({error}).") from error

    @classmethod
    def create(
        cls, root: Path, key: CacheKey, parts: Sequence[Part], *, rows: int, step: int = 1, labels: Mapping[str, str]
    ) -> CacheFolder:
        """Return the cache of this key that keeps just these parts under ``root``, made where it is not there yet.

        Args:
            root: folder of all caches.
            key: what the answers depend on.
            parts: what is kept of an answer.
            rows: how many answers a view holds.
            step: rows that are computed at once and so must not be parted.
            labels: for people: which teacher, which data.
        """
        kept = {part.name: {name: v for name, v in part.to_dict().items() if name != "name"} for part in parts}
        path = root / CacheKey({**key.fields, _KEPT: kept}).digest[:20]
        if not (path / _META).is_file():
            path.mkdir(parents=True, exist_ok=True)
            per_row = max(1, sum(part.bytes_per_image for part in parts))
            meta = {
                "format": _FORMAT,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "labels": dict(labels),
                "rows": rows,
                "rows_per_shard": max(1, _SHARD_BYTES // (per_row * step)) * step,
                "parts": [part.to_dict() for part in parts],
                "key": key.fields,
            }
            write_text(path / _META, json.dumps(meta, indent=2) + "\n")
        return cls(path)

    @cached_property
    def columns(self) -> Columns:
        """The columns of every shard."""
        return {name: column for part in self.parts for name, column in part.columns.items()}

    @property
    def bytes_per_row(self) -> int:
        """What one answer takes."""
        return sum(part.bytes_per_image for part in self.parts)

    @property
    def size(self) -> int:
        """What the whole folder takes on disk, in bytes."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def last_used(self) -> float:
        """When a run last read or built it, in seconds since 1970."""
        return (self.path / _META).stat().st_mtime

    def note_use(self) -> None:
        """Remember that it was used now; where its folder can't be written, nothing happens."""
        with suppress(OSError):
            os.utime(self.path / _META)

    def shards(self, view: int) -> list[Shard]:
        """Return all shards of a view, whether they are there or not."""
        return [self.shard(view, number) for number in range(-(-self.rows // self.rows_per_shard))]

    def shard(self, view: int, number: int) -> Shard:
        """Return one shard of a view, whether it is there or not."""
        start = number * self.rows_per_shard
        return Shard(view, number, start, min(start + self.rows_per_shard, self.rows))

    def known(self) -> Mapping[tuple[int, int], int]:
        """Return the checksum of each shard that was finished, by view and number."""
        try:
            found = (self.path / _INDEX).stat()
        except FileNotFoundError:
            return {}
        # Asked for each shard: the file is read again only where somebody has written to it.
        stamp = (found.st_mtime_ns, found.st_size)
        if self._index is None or self._index[0] != stamp:
            self._index = (stamp, self._read_index())
        return self._index[1]

    def _read_index(self) -> dict[tuple[int, int], int]:
        found = {}
        for line in (self.path / _INDEX).read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                found[int(record["view"]), int(record["shard"])] = int(record["crc32"])
            except (ValueError, KeyError, TypeError):
                # A builder that was killed leaves half a line, whose shard then counts as not there.
                continue
        return found

    def views(self) -> int:
        """Return how many views are whole, counted from the first."""
        known, view = self.known(), 0
        while all((view, shard.number) in known for shard in self.shards(view)):
            view += 1
        return view

    def missing(self, views: int) -> list[Shard]:
        """Return the shards of the first so many views that are not there."""
        known = self.known()
        wanted = [shard for view in range(views) for shard in self.shards(view)]
        return [s for s in wanted if (s.view, s.number) not in known or not (self.path / s.file).is_file()]

    def put(self, shard: Shard, columns: Mapping[str, Tensor]) -> None:
        """Write a shard; it is whole or not there.

        Raises:
            OSError: the disk is full or can't be written.
        """
        path = self.path / shard.file
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            write_shard(partial, columns)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            crc32 = checksum(partial)
            partial.replace(path)
            record = {"view": shard.view, "shard": shard.number, "crc32": crc32}
            with (self.path / _INDEX).open("a", encoding="utf-8") as index:
                # A newline first: half a line of a killed builder must not swallow this one.
                index.write("\n" + json.dumps(record))
                index.flush()
                os.fsync(index.fileno())
        finally:
            partial.unlink(missing_ok=True)

    def is_intact(self, shard: Shard) -> bool:
        """Return whether a shard's content is what was written."""
        path, expected = self.path / shard.file, self.known().get((shard.view, shard.number))
        return expected is not None and path.is_file() and checksum(path) == expected

    def forget(self, shard: Shard) -> None:
        """Remove a shard, so that it is computed anew when it is next needed."""
        (self.path / shard.file).unlink(missing_ok=True)

    def basis(self) -> dict[str, Tensor]:
        """Return the principal components of the maps that are reduced to them."""
        path = self.path / _BASIS
        return load_file(path) if path.is_file() else {}

    def put_basis(self, basis: Mapping[str, Tensor]) -> None:
        """Keep the principal components."""
        partial = self.path / f"{_BASIS}.{os.getpid()}.part"
        save_file(dict(basis), partial)
        partial.replace(self.path / _BASIS)

    @contextmanager
    def building(self, patience: float = -1, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the right to write; other builders of this cache wait.

        Args:
            patience: seconds to wait for another builder; -1 waits as long as it takes.
            on_wait: is called where there is another one to wait for.

        Raises:
            TimeoutError: another process is still building after that.
            DataError: the cache has been removed.
        """
        if not (self.path / _META).is_file():
            raise DataError(f"The teacher cache {str(self.path)!r} has been removed.")
        lock = FileLock(self.path / _LOCK)
        if on_wait is not None:
            try:
                lock.acquire(timeout=0).lock.release()
            except Timeout:
                on_wait()
        try:
            with lock.acquire(timeout=patience):
                yield
        except Timeout as error:
            raise TimeoutError(f"Another process is building {str(self.path)!r}.") from error

    def remove(self) -> None:
        """Remove the cache from disk."""
        shutil.rmtree(self.path)


def cache_root(given: str | Path | None = None) -> Path:
    """Return the folder of all caches: the given one, or ``teachers`` in ``DROPKD_CACHE`` or ``~/.cache/dropkd``."""
    if given is not None:
        return Path(given).expanduser()
    own = os.environ.get("DROPKD_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(own).expanduser() if own else home / "dropkd") / "teachers"


def list_caches(root: Path) -> list[CacheFolder]:
    """Return the caches under a folder, the newest first; what is damaged is passed over."""
    found = []
    for meta in sorted(root.glob(f"*/{_META}")):
        try:
            found.append(CacheFolder(meta.parent))
        except DataError:
            continue
    return sorted(found, key=lambda cache: cache.created, reverse=True)
