"""Shards behind URLs: listed and read once, then fetched as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.cache_place import cache_folder
from dropkd.data.fetching import NotThereError, fetch
from dropkd.data.nearness import Nearness
from dropkd.data.reading import Readings, read_images
from dropkd.data.shard_cache import RemoteShard, ShardCache
from dropkd.data.shard_index import IndexedShard, IndexFile
from dropkd.data.shard_places import ShardPlaces
from dropkd.data.shard_store import LocalShard, ShardStore
from dropkd.data.source import Source
from dropkd.data.tar_samples import index_tar
from dropkd.errors import ConfigError, DataError

__all__ = ["RemoteSet"]

# Room for ten shards of the usual size, on most disks there is.
_DEFAULT_GB = 10.0
_LARGEST_TEXT = 2**24
_PIECE = 2**20


@dataclass(frozen=True)
class RemoteSet:
    """The shards of a data set that lie elsewhere.

    Args:
        cache: where fetched shards are kept.
        label: the option of that name.
        image: the option of that name.
    """

    cache: ShardCache
    label: str | None
    image: str | None

    @classmethod
    def of(cls, source: Source, places: ShardPlaces) -> RemoteSet:
        """Return the set with the folder and the limit that its options give.

        Raises:
            ConfigError: the limit is no size.
        """
        text = source.options.get("cache_gb", str(_DEFAULT_GB))
        try:
            limit = float(text)
        except ValueError:
            limit = 0.0
        if not 0 < limit < float("inf"):
            raise ConfigError(f"{source.text!r}: cache_gb must be a number of gigabytes above 0, got {text!r}.")
        folder = Path(source.options["cache"]).expanduser() if "cache" in source.options else cache_folder()
        cache = ShardCache(folder / "shards", int(limit * 1e9))
        return cls(cache, source.options.get("label"), source.options.get("image"))

    @property
    def _folder(self) -> Path:
        return self.cache.folder.parent / "index"

    def index(self, url: str) -> IndexedShard:
        """Return what is known of a shard: from its index, else it is fetched and every image in it is read.

        Raises:
            DataError: it can't be fetched.
        """
        kept = IndexFile(self._folder, ("url", url, self.label, self.image))
        indexed = kept.read()
        if indexed is not None:
            return indexed
        # Held open, so that it stays readable where another process drops it meanwhile.
        with self.cache.open(url) as file:
            whole = hashlib.sha256()
            while piece := file.read(_PIECE):
                whole.update(piece)
            path = self.cache.place(url)
            index = index_tar(path, label=self.label, image=self.image)
            store = ShardStore([LocalShard(path)], np.zeros(len(index.names), np.int64), index.offset, index.size)
            readings = read_images(store, pack=False)
            indexed = IndexedShard(index, readings, path.stat().st_size, whole.hexdigest())
        kept.write(indexed)
        return indexed

    def shards(self, urls: Sequence[str], indexed: Sequence[IndexedShard]) -> list[RemoteShard]:
        """Return the shards to read from."""
        return [RemoteShard(url, self.cache, (own.bytes, own.sha256)) for url, own in zip(urls, indexed, strict=True)]

    def nearness(self, shard: NDArray[np.int64], sizes: Sequence[int]) -> Nearness | None:
        """Return which images are to be read near each other; None where all shards fit into the cache.

        Raises:
            ConfigError: not even two shards fit: each change from one to the next would fetch them again.
        """
        limit, largest = self.cache.limit, max(sizes)
        if sum(sizes) <= limit:
            return None
        if 2 * largest > limit:
            raise ConfigError(
                f"two shards of {largest:,} bytes do not fit into the cache of {limit / 1e9:g} GB. Raise ?cache_gb= to "
                f"{np.ceil(2 * largest / 1e6) / 1e3:g} at least."
            )
        # Half of the cache for the shards that images are drawn from, half for those before and after.
        return Nearness(shard, int(limit // (2 * largest)))

    def readings(self, indexed: Sequence[IndexedShard]) -> Readings:
        """Return what reading the images of all shards gave."""
        failures: dict[int, str] = {}
        sizes, digests, start = [np.zeros((0, 2), np.int64)], [], 0
        for own in indexed:
            if own.readings is None:
                raise AssertionError("remote shards are read when they are indexed")
            failures |= {start + i: text for i, text in own.readings.failures.items()}
            sizes.append(own.readings.sizes)
            digests += own.readings.digests
            start += len(own.index.names)
        return Readings(failures, np.concatenate(sizes), digests, None)

    def small_file(self, url: str, *, needed: bool) -> bytes | None:
        """Return a text file from beside the shards, which is fetched once; None where there is none.

        Raises:
            DataError: it is needed and can't be had.
        """
        path = self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.txt"
        absent = path.with_suffix(".absent")
        if absent.exists() and not needed:
            return None
        if not path.exists():
            partial = path.with_suffix(".part")
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                fetch(url, partial, limit=_LARGEST_TEXT)
                partial.replace(path)
            except NotThereError:
                if needed:
                    raise
                absent.touch()
                return None
            except OSError as error:
                raise DataError(f"can't keep {url} in {str(self._folder)!r}: {error.strerror}.") from error
            finally:
                partial.unlink(missing_ok=True)
        return path.read_bytes()
