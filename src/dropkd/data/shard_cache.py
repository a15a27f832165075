"""Shards from elsewhere: fetched whole when they are first needed, into a folder that does not grow beyond a limit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from dropkd.data.fetching import fetch
from dropkd.errors import ConfigError, DataError

__all__ = ["RemoteShard", "ShardCache"]

# How often one process may find that others dropped a shard between its arrival and its opening.
_ROUNDS = 20
# A shard counts as used again only after so long: noting each read down would cost more than the read.
_SECONDS_BETWEEN_USES = 5


@dataclass(frozen=True)
class ShardCache:
    """A folder of fetched shards, shared by all processes of this machine.

    Args:
        folder: where they lie.
        limit: how many bytes they may have together.
    """

    folder: Path
    limit: int

    def place(self, url: str) -> Path:
        """Return where a shard lies, or will lie."""
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in url.rpartition("/")[2])[-80:]
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}-{name.lstrip('.')}"

    def open(self, url: str, expected: tuple[int, str] | None = None) -> BinaryIO:
        """Return an open shard; it is fetched first where it is not here.

        Args:
            url: where it comes from.
            expected: its size and SHA-256, where they are known: one that has changed since is refused.

        Raises:
            DataError: it can't be fetched or kept, or has changed.
            ConfigError: it is larger than the limit.
        """
        path = self.place(url)
        for _ in range(_ROUNDS):
            self._bring(url, path, expected)
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                continue
            if time.time() - os.fstat(file.fileno()).st_mtime > _SECONDS_BETWEEN_USES:
                self._note_use(path)
            return file
        raise DataError(
            f"{url} was dropped from {str(self.folder)!r} as often as it was fetched: the folder is too small for all "
            f"that use it. Raise ?cache_gb= ({self.limit / 1e9:g} now), or give this run a folder of its own, ?cache="
        )

    def _bring(self, url: str, path: Path, expected: tuple[int, str] | None) -> None:
        if path.exists():
            return
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "locks" / path.name):
                if not path.exists():
                    self._fetch(url, path, expected)
        except OSError as error:
            raise DataError(self._explain(url, error)) from error

    def _fetch(self, url: str, path: Path, expected: tuple[int, str] | None) -> None:
        partial = path.with_name(f"{path.name}.part")
        try:
            if expected is not None:
                self._make_room(expected[0], partial)
            fetched = fetch(url, partial, limit=self.limit)
            if expected is not None and (fetched.bytes, fetched.sha256) != expected:
                raise DataError(
                    f"{url} is no longer the file whose images were listed: it had {expected[0]:,} bytes, now "
                    f"{fetched.bytes:,} (SHA-256 {expected[1][:12]}, now {fetched.sha256[:12]}). To list the images "
                    "anew, start again with another folder, ?cache=FOLDER, or remove the index in "
                    f"{str(self.folder.parent / 'index')!r}."
                )
            if expected is None:
                self._make_room(0, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, size: int, partial: Path) -> None:
        """Drop the shards that were not used for longest until there is room; the place is taken by an empty file."""
        if size > self.limit:
            raise ConfigError(
                f"a shard of {size:,} bytes is larger than the cache may be, {self.limit:,}. Raise ?cache_gb="
            )
        with FileLock(self.folder / "locks" / "room"):
            if size:
                with partial.open("wb") as file:
                    file.truncate(size)
            held = self._list_held()
            total = sum(own for _, own, _ in held)
            for _, own, path in sorted(held):
                if total <= self.limit:
                    break
                if path.suffix != ".part":
                    path.unlink(missing_ok=True)
                    total -= own

    def _list_held(self) -> list[tuple[float, int, Path]]:
        """Return when each shard was last used, its size and its place."""
        held = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # What is only on its way may vanish while we look.
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file():
                        about = entry.stat()
                        held.append((about.st_mtime, about.st_size, Path(entry.path)))
        return held

    def _note_use(self, path: Path) -> None:
        # Dropped meanwhile, or not ours to touch: it is open already.
        with contextlib.suppress(OSError):
            os.utime(path)

    def _explain(self, url: str, error: OSError) -> str:
        reason = error.strerror or str(error)
        advice = "Choose another folder: ?cache=FOLDER, or the variable DROPKD_CACHE."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = f"Free some space, lower ?cache_gb= ({self.limit / 1e9:g} now), or choose another folder: ?cache="
        return f"can't keep {url} in {str(self.folder)!r}: {reason}. {advice}"


@dataclass(frozen=True)
class RemoteShard:
    """A shard that is fetched when it is needed.

    Args:
        url: where it is.
        cache: where it is kept.
        expected: its size and SHA-256.
    """

    url: str
    cache: ShardCache
    expected: tuple[int, str]

    def open(self) -> BinaryIO:
        """Return the open file."""
        return self.cache.open(self.url, self.expected)
