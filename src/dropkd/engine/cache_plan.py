"""Which cache of a teacher's answers belongs to a run, what it takes, and whether it pays."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dropkd.data import MixedLoader, TrainLoader
from dropkd.engine.cache_needs import Needs, find_needs
from dropkd.engine.cache_rows import Rows
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.files import say_bytes
from dropkd.teacher_cache import CacheFolder, CacheKey, Part, Source, choose_sources, list_caches
from dropkd.teacher_cache.covering import find_cover, name_shortcomings

__all__ = ["CachePlan", "plan_cache", "plan_for"]

# A cache is built unasked where it saves this share of the teacher's work, and takes no more than this of the disk.
_WORTH, _SHARE_OF_DISK = 0.3, 0.25
# Less work of the teacher's is not worth a file: multiply-adds of a minute or so on one core of a processor. Work, not
# time, so that the same command decides the same on any machine.
_LEAST_MACS = 1e12


@dataclass(frozen=True)
class CachePlan:
    """Where the answers of some needs come from.

    Args:
        needs: what is read.
        whole: caches that have some of it already, in all views.
        partial: a cache that is gone on with for the rest, or None.
        rest: what is in no whole cache.
        partial_views: how many views of the rest are there already.
    """

    needs: Needs
    whole: tuple[Source, ...]
    partial: CacheFolder | None
    rest: tuple[Part, ...]
    partial_views: int

    @property
    def root(self) -> Path:
        """Folder of all caches."""
        return self.needs.root

    @property
    def key(self) -> CacheKey:
        """What the answers depend on."""
        return self.needs.key

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is read of an answer."""
        return self.needs.parts

    @property
    def rows(self) -> Rows:
        """How the answers of a view are numbered."""
        return self.needs.rows

    @property
    def views(self) -> int:
        """How many the runs look at."""
        return self.needs.views

    @property
    def epochs(self) -> int:
        """Of all runs together."""
        return self.needs.epochs

    @property
    def there(self) -> int:
        """How many of the views are on disk already, with all that is read."""
        return self.views if not self.rest else min(self.partial_views, self.views)

    @property
    def written(self) -> tuple[Part, ...]:
        """What is kept of an answer that has to be asked for."""
        return self.rest if self.partial is None else self.partial.parts

    @property
    def bytes_per_row(self) -> int:
        """What one answer takes on disk."""
        kept = [find_cover(source.cache.parts, need) or need for source in self.whole for need in source.needs]
        return sum(part.bytes_per_image for part in (*kept, *self.written))

    @property
    def bytes(self) -> int:
        """What all views take on disk."""
        return self.rows.count * self.views * self.bytes_per_row

    @property
    def pays(self) -> bool:
        """Whether it is worth building (or reading) unasked."""
        if self.there >= self.views:
            return True
        live = self.epochs * self.rows.count * self.needs.macs
        saved = live - (self.views - self.there) * self.rows.count * self.needs.macs
        new = sum(part.bytes_per_image for part in self.written) * self.rows.count * (self.views - self.there)
        return saved >= max(_LEAST_MACS, _WORTH * live) and new <= _SHARE_OF_DISK * _free_bytes(self.root)

    def describe(self) -> str:
        """Return in words what it takes and saves."""
        views = f"{self.views} view{'s' if self.views > 1 else ''}"
        size = f"{self.rows.count:,} answers of {self.bytes_per_row:,} bytes in {views}, {say_bytes(self.bytes)}"
        if self.there >= self.views:
            return f"Teacher cache: there already ({size})."
        view = self.rows.count * self.needs.seconds
        build, live = (self.views - self.there) * view, self.epochs * view
        known = [need.name for source in self.whole for need in source.needs]
        some = f" Of it {', '.join(known)} {'is' if len(known) == 1 else 'are'} there already." if known else ""
        return (
            f"Teacher cache: {size}.{some} Building it takes about {_in_time(build)}, asking the teacher in every step "
            f"would take {_in_time(live)} over {self.epochs} epochs."
        )


def plan_cache(job: Job, loader: TrainLoader | MixedLoader, observer: Observer) -> CachePlan | None:
    """Return where a run's answers come from; None where there is nothing to keep or it is switched off.

    Raises:
        ConfigError: the configuration asks for a cache of a teacher whose answers can't be kept.
    """
    needs = find_needs(job, loader)
    return None if needs is None else plan_for(needs, observer)


def plan_for(needs: Needs, observer: Observer) -> CachePlan:
    """Return which caches serve some needs; where none has all, it is said what the nearest lacks."""
    caches = list_caches(needs.root) if needs.root.is_dir() else []
    same = [cache for cache in caches if cache.key.digest == needs.key.digest]
    choice = choose_sources(same, needs.parts, needs.views)
    if choice.rest and choice.partial is None:
        _say_nearest(needs, choice.rest, same, caches, observer)
    return CachePlan(needs, choice.whole, choice.partial, choice.rest, choice.views)


def _say_nearest(
    needs: Needs, rest: tuple[Part, ...], same: list[CacheFolder], caches: list[CacheFolder], observer: Observer
) -> None:
    """Say what the cache differs in that comes nearest to having the rest."""
    if same:
        lacking = min((name_shortcomings(cache.parts, rest) for cache in same), key=len)
        names = [f"kept.{name}" for name in lacking]
    else:
        weights = needs.key.fields["teacher"]["weights"]
        nearest = needs.key.nearest(c.key for c in caches if c.key.fields["teacher"].get("weights") == weights)
        names = [] if nearest is None else needs.key.differences(nearest)
    if names:
        observer.on_message(f"No teacher cache fits: the nearest differs in {', '.join(names)}.")


def _free_bytes(root: Path) -> int:
    folder = next(parent for parent in (root.absolute(), *root.absolute().parents) if parent.exists())
    return shutil.disk_usage(folder).free


def _in_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
