"""Looking after caches: which there are, whether they are whole, and which may go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dropkd.errors import ConfigError, did_you_mean
from dropkd.teacher_cache.folder import CacheFolder, Shard, list_caches

__all__ = ["JUDGED", "TRIALS", "choose_old", "find_cache", "find_damaged", "forget_orphans"]

# Beside the caches: answers to the images that teachers are judged by, and what trying methods told.
JUDGED, TRIALS = "judged", "trials"


def find_cache(root: Path, name: str) -> CacheFolder:
    """Return the cache with this name, or whose name begins so.

    Raises:
        ConfigError: there is none, or more than one.
    """
    caches = list_caches(root)
    found = [cache for cache in caches if cache.path.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    names = [cache.path.name for cache in found or caches]
    if found:
        raise ConfigError(f"{name!r} begins the names of {len(found)} teacher caches: {', '.join(names)}.")
    raise ConfigError(
        f"There is no teacher cache {name!r} in {str(root)!r}. There are: {', '.join(names) or 'none'}."
        f"{did_you_mean(name, names)}"
    )


def find_damaged(cache: CacheFolder, progress: Callable[[int, int], None] | None = None) -> list[Shard]:
    """Return the shards whose content is not what was written, or that are gone. Every byte is read."""
    known = sorted(cache.known())
    damaged = []
    for done, (view, number) in enumerate(known, 1):
        shard = cache.shard(view, number)
        if not cache.is_intact(shard):
            damaged.append(shard)
        if progress is not None:
            progress(done, len(known))
    return damaged


def choose_old(
    caches: Sequence[CacheFolder], *, unused_days: float | None = None, max_bytes: int | None = None
) -> list[CacheFolder]:
    """Return the caches that have not been used for so long, and then those longest unused until the rest fits.

    Args:
        caches: to choose from.
        unused_days: a cache that was used since is kept; None sets no limit.
        max_bytes: what all that are kept may take; None sets no limit.
    """
    by_use = sorted(caches, key=lambda cache: cache.last_used)
    chosen = []
    if unused_days is not None:
        limit = time.time() - unused_days * 86_400
        chosen = [cache for cache in by_use if cache.last_used < limit]
    if max_bytes is not None:
        rest = [cache for cache in by_use if cache not in chosen]
        total = sum(cache.size for cache in rest)
        for cache in rest:
            if total <= max_bytes:
                break
            chosen.append(cache)
            total -= cache.size
    return chosen


def forget_orphans(root: Path) -> None:
    """Remove answers to judging images of teachers whose caches are all gone; with the last cache, the trials too."""
    caches = list_caches(root)
    teachers = [cache.key.fields.get("teacher") for cache in caches]
    for judged in list_caches(root / JUDGED):
        if judged.key.fields.get("teacher") not in teachers:
            judged.remove()
    if not caches:
        shutil.rmtree(root / JUDGED, ignore_errors=True)
        shutil.rmtree(root / TRIALS, ignore_errors=True)
