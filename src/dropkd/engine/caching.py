"""A run's teacher, asked once: its cache built where that pays, compared with the teacher, and read in every step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dropkd.config import Config, update_config
from dropkd.contracts import Outputs
from dropkd.data import LoadedBatch, MixedLoader, TrainLoader
from dropkd.engine.cache_plan import CachePlan, ask_teacher, plan_cache
from dropkd.engine.cache_rows import Rows, by_image
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.errors import ConfigError, DataError, DropKDError
from dropkd.teacher_cache import (
    CacheFolder,
    CacheReader,
    Part,
    Questions,
    build_cache,
    build_shard,
    cache_root,
    list_caches,
)
from dropkd.teacher_cache.building import split_answer
from dropkd.teacher_cache.encoding import decode_part, encode_part

__all__ = ["CachedTeacher", "build_for", "make_cache", "open_cache"]


class CachedTeacher:
    """Answers as the teacher does, from disk.

    Args:
        reader: of the cache.
        plan: whose cache it is.
        observer: hears of it when the cache is gone.
    """

    def __init__(self, reader: CacheReader, plan: CachePlan, observer: Observer) -> None:
        self.reader, self.plan, self.observer = reader, plan, observer
        self.is_lost = False

    def answer(self, batch: LoadedBatch, step: int) -> Outputs | None:
        """Return the teacher's answer to the ``step``-th batch of an epoch, on the CPU.

        None once the cache is gone, or damaged and can't be mended: a long run must not end for that.
        """
        if self.is_lost:
            return None
        try:
            return self.reader.read(self.plan.rows.find(batch, step), batch.view.numpy())
        except (DropKDError, OSError) as error:
            self.is_lost = True
            self.observer.on_warning(_say_lost(error))
            return None

    def describe(self) -> dict[str, Any]:
        """Return for the run's record which cache it was; a view of an image may have several answers."""
        cache, plan = self.reader.cache, self.plan
        return {
            "name": cache.path.name,
            "views": plan.views,
            "bytes_per_image": cache.bytes_per_row * plan.rows.per_image,
            "to_the_end": not self.is_lost,
        }


def open_cache(job: Job, loader: TrainLoader | MixedLoader, observer: Observer) -> CachedTeacher | None:
    """Return the teacher's answers from disk, built first where that pays; None where the teacher is to be asked.

    Raises:
        ConfigError: a cache is asked for that can't be.
    """
    if not _may_serve(job, loader):
        return None
    plan = plan_cache(job, loader, observer)
    if plan is None or (job.config.cache.mode == "auto" and not plan.pays):
        return None
    observer.on_message(plan.describe())
    try:
        cache = make_cache(job, plan, observer)
        questions = _question(job, plan.rows, here=True)
        template = ask_teacher(job, next(plan.rows.pictures(0, 0, plan.rows.step)))
        reader = CacheReader(
            cache,
            mend=lambda shard: build_shard(cache, shard, questions),
            template=template.apply(lambda values: values.detach().cpu()),
        )
        problem = _compare(job, plan, reader, questions)
    except (DropKDError, OSError) as error:
        # Numbers that can't be kept stop a run only where keeping them was asked for.
        if isinstance(error, ConfigError) and job.config.cache.mode == "on":
            raise
        observer.on_warning(_say_lost(error))
        return None
    if problem is not None:
        observer.on_warning(
            f"The teacher cache {str(cache.path)!r} does not answer as the teacher does ({problem}): remove that "
            "folder. The run goes on with the teacher itself."
        )
        return None
    cache.note_use()
    return CachedTeacher(reader, plan, observer)


def _may_serve(job: Job, loader: TrainLoader | MixedLoader) -> bool:
    """Tell by a look at the disk whether a cache is worth planning, which asks the teacher and hashes its weights."""
    cache, views = job.config.cache, loader.distinct_views
    saves = views is not None and views < job.config.training.epochs
    return cache.mode == "on" or saves or bool(list_caches(cache_root(cache.folder)))


def make_cache(job: Job, plan: CachePlan, observer: Observer) -> CacheFolder:
    """Return a plan's cache with all its views, computed where they are not there yet.

    Raises:
        CacheFullError: no space is left.
        OSError: its folder can't be written.
    """
    source = job.config.teacher.source if job.config.teacher is not None else ""
    labels = {
        "teacher": source,
        "student": job.config.student.name,
        "data": str(job.data.root),
        "method": job.config.method.name,
    }
    cache = CacheFolder.create(
        plan.root, plan.key, plan.parts, rows=plan.rows.count, step=plan.rows.step, labels=labels
    )
    build_cache(
        cache,
        plan.views,
        _question(job, plan.rows),
        progress=partial(observer.on_phase, "Asking the teacher"),
        on_wait=lambda: observer.on_message(f"Another process is building {cache.path.name}: waiting for it."),
    )
    return cache


def build_for(config: Config, observer: Observer) -> Path:
    """Build the cache of a configuration, whether it pays or not, and return its folder.

    Raises:
        ConfigError: the method has no teacher, or one whose answers can't be kept.
        DataError: the cache's folder can't be written.
    """
    job = prepare_job(update_config(config, {"cache.mode": "on"}), observer)
    plan = plan_cache(job, job.train_loader(), observer)
    if plan is None:
        raise ConfigError(f"{config.method.name} asks no teacher, so there is nothing to keep.")
    observer.on_message(plan.describe())
    try:
        return make_cache(job, plan, observer).path
    except OSError as error:
        raise DataError(_say_unwritable(error)) from error


def _say_lost(error: Exception) -> str:
    what = _say_unwritable(error) if isinstance(error, OSError) else str(error)
    return f"{what} The run goes on with the teacher itself."


def _say_unwritable(error: OSError) -> str:
    return f"The teacher cache can't be read or written here: {error}. Choose another place by cache.folder."


def _question(job: Job, rows: Rows, *, here: bool = False) -> Questions:
    kinds = len(job.distiller.method.views)

    def ask(view: int, start: int, stop: int) -> Iterator[Outputs]:
        for pictures in rows.pictures(view, start, stop, here=here):
            answer = _without_classifiers(ask_teacher(job, pictures))
            yield answer.apply(lambda values: by_image(values, kinds))

    return Questions(ask)


def _without_classifiers(answer: Outputs) -> Outputs:
    """Return what of an answer belongs to the images."""
    members = tuple(_without_classifiers(member) for member in answer.members)
    return answer._replace(classifier=None, members=members)


def _compare(job: Job, plan: CachePlan, reader: CacheReader, questions: Questions) -> str | None:
    """Return in which part some random entries differ from what the teacher says now, or None."""
    step, generator = plan.rows.step, np.random.default_rng()
    for _ in range(job.config.cache.compared):
        view = int(generator.integers(plan.views))
        start = int(generator.integers(-(-plan.rows.count // step))) * step
        stop = min(start + step, plan.rows.count)
        for live in questions.ask(view, start, stop):
            kept = split_answer(reader.read(np.arange(start, start + len(live.logits)), view))
            for part in plan.parts:
                expected = decode_part(
                    part, encode_part(part, split_answer(live)[part.name], reader.basis), reader.basis
                )
                scale = float(expected.abs().max()) + 1e-6
                if not float((kept[part.name] - expected).abs().max()) <= _tolerance(part) * scale:
                    return f"{part.name} of row {start} in view {view}"
    return None


def _tolerance(part: Part) -> float:
    """Return what rounding may change: a batch of another size, and one level of the numbers that are kept."""
    return 2e-2 if part.encoding.number == "int8" else 5e-3
