"""Which caches on disk serve a run, and what has to be computed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropkd.teacher_cache.covering import find_cover, name_shortcomings
from dropkd.teacher_cache.encoding import Part
from dropkd.teacher_cache.folder import CacheFolder

__all__ = ["Choice", "Source", "choose_sources"]

# A cache that keeps more than is needed is only completed where this share of it is there: the rest costs disk.
_WORTH_COMPLETING = 0.5


@dataclass(frozen=True)
class Source:
    """A cache, and what of it a run reads.

    Args:
        cache: the folder.
        needs: what is read of it.
    """

    cache: CacheFolder
    needs: tuple[Part, ...]


@dataclass(frozen=True)
class Choice:
    """Where a run's answers come from.

    Args:
        whole: caches that have all their views already.
        partial: a cache to be completed; None where there is none to go on with.
        rest: what no whole cache has: to be read from the partial one, or from a new one that keeps just this.
        views: how many views of the rest are there already.
    """

    whole: tuple[Source, ...]
    partial: CacheFolder | None
    rest: tuple[Part, ...]
    views: int


def choose_sources(caches: Sequence[CacheFolder], needs: Sequence[Part], views: int) -> Choice:
    """Return where to read each part.

    The teacher is asked about no row twice: at most one cache is written, with all that no whole one has.

    Args:
        caches: of the key that the run has.
        needs: what it reads of an answer.
        views: how many views it shows.
    """
    there = {cache.path: cache.views() for cache in caches}
    whole = [cache for cache in caches if there[cache.path] >= views]
    # One cache for everything is opened and mapped once.
    whole.sort(key=lambda cache: -sum(find_cover(cache.parts, need) is not None for need in needs))
    taken: dict[str, CacheFolder] = {}
    for need in needs:
        found = next((cache for cache in whole if find_cover(cache.parts, need) is not None), None)
        if found is not None:
            taken[need.name] = found
    rest = tuple(need for need in needs if need.name not in taken)
    used = {cache.path: cache for cache in taken.values()}
    sources = tuple(
        Source(cache, tuple(need for need in needs if taken.get(need.name) is cache)) for cache in used.values()
    )
    partial = _find_partial([c for c in caches if not name_shortcomings(c.parts, rest)], rest, views) if rest else None
    return Choice(sources, partial, rest, there[partial.path] if partial is not None else 0)


def _find_partial(caches: Sequence[CacheFolder], rest: Sequence[Part], views: int) -> CacheFolder | None:
    """Return the cache with the most of the rest there, or None where a new one is the better choice."""
    need = sum(part.bytes_per_image for part in rest)
    best, most = None, 0.0
    for cache in caches:
        share = 1 - sum(shard.stop - shard.start for shard in cache.missing(views)) / (cache.rows * views)
        if share > most and (share >= _WORTH_COMPLETING or cache.bytes_per_row <= need):
            best, most = cache, share
    return best
