"""A run's teacher, asked once: its cache built where that pays, compared with the teacher, and read in every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dropkd.config import Config, update_config
from dropkd.contracts import Outputs
from dropkd.data import LoadedBatch, MixedLoader, TrainLoader
from dropkd.engine.cache_parts import ask_teacher
from dropkd.engine.cache_plan import CachePlan, plan_cache
from dropkd.engine.cache_rows import Rows, by_image
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.errors import ConfigError, DataError, DropKDError
from dropkd.teacher_cache import (
    CacheFolder,
    CacheReader,
    JointReader,
    Part,
    Questions,
    Source,
    build_cache,
    build_shard,
    cache_root,
    list_caches,
)
from dropkd.teacher_cache.building import split_answer
from dropkd.teacher_cache.covering import fit_to_need
from dropkd.teacher_cache.encoding import decode_part, encode_part

__all__ = ["CachedTeacher", "build_for", "make_caches", "open_cache", "say_lost"]


class CachedTeacher:
    """Answers as the teacher does, from disk.

    Args:
        reader: of the caches that hold them.
        plan: whose caches they are.
        observer: hears of it when the cache is gone.
    """

    def __init__(self, reader: JointReader, plan: CachePlan, observer: Observer) -> None:
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
            self.observer.on_warning(say_lost(error))
            return None

    @property
    def identity(self) -> tuple[object, ...]:
        """What decides an answer to a batch: runs in which it is the same may share it."""
        return self.plan.parts, *(reader.cache.path for reader in self.reader.readers)

    def describe(self) -> dict[str, Any]:
        """Return for the run's record which cache it was; a view of an image may have several answers."""
        plan, readers = self.plan, self.reader.readers
        return {
            "name": " + ".join(reader.cache.path.name for reader in readers),
            "views": plan.views,
            "bytes_per_image": plan.rows.per_image * sum(reader.bytes_per_row for reader in readers),
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
        sources = make_caches(job, plan, observer)
        plan.needs.keep_trial()
        # Runs of one process that read the same caches need not all look.
        asked = (plan.parts, job.distiller.method.teacher_reads, plan.views, *(s.cache.path for s in sources))
        sample = job.shared.remember(("sample", *asked), partial(_draw, job, plan))
        reader = _open_reader(job, plan, sources, sample.template)
        problem = None
        if job.config.cache.compared:
            problem = job.shared.remember(("compared", *asked), partial(_compare, reader, sample))
    except (DropKDError, OSError) as error:
        # Numbers that can't be kept stop a run only where keeping them was asked for.
        if isinstance(error, ConfigError) and job.config.cache.mode == "on":
            raise
        observer.on_warning(say_lost(error))
        return None
    if problem is not None:
        observer.on_warning(
            f"The teacher cache {problem}. Remove that folder. The run goes on with the teacher itself."
        )
        return None
    for source in sources:
        source.cache.note_use()
    return CachedTeacher(reader, plan, observer)


def _may_serve(job: Job, loader: TrainLoader | MixedLoader) -> bool:
    """Tell by a look at the disk whether a cache is worth planning, which asks the teacher and hashes its weights."""
    cache, views = job.config.cache, loader.distinct_views
    saves = views is not None and views < job.config.training.epochs
    return cache.mode == "on" or saves or bool(list_caches(cache_root(cache.folder)))


def make_caches(job: Job, plan: CachePlan, observer: Observer) -> tuple[Source, ...]:
    """Return a plan's caches with all views, computed where they are not there yet.

    Raises:
        CacheFullError: no space is left.
        OSError: a folder can't be written.
    """
    if not plan.rest:
        return _complete(job, plan, plan.whole, observer)
    source = job.config.teacher.source if job.config.teacher is not None else ""
    labels = {
        "teacher": source,
        "student": job.config.student.name,
        "data": str(job.data.root),
        "method": job.config.method.name,
    }
    new = CacheFolder.create(
        plan.root, plan.key, plan.written, rows=plan.rows.count, step=plan.rows.step, labels=labels
    )
    return _complete(job, plan, (*plan.whole, Source(new, plan.rest)), observer)


def _complete(job: Job, plan: CachePlan, sources: tuple[Source, ...], observer: Observer) -> tuple[Source, ...]:
    """Compute what is missing of each source; of a whole one that is what was lost."""
    for source in sources:
        name = source.cache.path.name
        build_cache(
            source.cache,
            plan.views,
            _question(job, plan.rows, source.cache.parts),
            progress=partial(observer.on_phase, "Asking the teacher"),
            on_wait=partial(observer.on_message, f"Another process is building {name}: waiting for it."),
        )
    return sources


def _open_reader(job: Job, plan: CachePlan, sources: tuple[Source, ...], template: Outputs) -> JointReader:
    def open_one(source: Source) -> CacheReader:
        questions = _question(job, plan.rows, source.cache.parts, here=True)
        mend = partial(build_shard, source.cache, questions=questions)
        return CacheReader(source.cache, template=template, mend=mend, needs=source.needs)

    return JointReader([open_one(source) for source in sources], template)


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
        return make_caches(job, plan, observer)[-1].cache.path
    except OSError as error:
        raise DataError(_say_unwritable(error)) from error


def say_lost(error: Exception) -> str:
    """Return in words that a cache can't be had, and what follows."""
    what = _say_unwritable(error) if isinstance(error, OSError) else str(error)
    return f"{what} The run goes on with the teacher itself."


def _say_unwritable(error: OSError) -> str:
    return f"The teacher cache can't be read or written here: {error}. Choose another place by cache.folder."


def _question(job: Job, rows: Rows, parts: Iterable[Part], *, here: bool = False) -> Questions:
    kinds = len(job.distiller.method.views)

    def ask(view: int, start: int, stop: int) -> Iterator[Outputs]:
        for pictures in rows.pictures(view, start, stop, here=here):
            answer = _without_classifiers(ask_teacher(job, pictures, parts))
            yield answer.apply(lambda values: by_image(values, kinds))

    return Questions(ask)


def _without_classifiers(answer: Outputs) -> Outputs:
    """Return what of an answer belongs to the images."""
    members = tuple(_without_classifiers(member) for member in answer.members)
    return answer._replace(classifier=None, members=members)


@dataclass(frozen=True)
class _Sample:
    """What the teacher says now about some random entries.

    Args:
        answer: to them, on the CPU, rows in the order of ``rows``; no classifiers.
        template: the same as it came, with the classifiers.
        rows: (B,) where they are kept.
        views: (B,) in which view.
    """

    answer: Outputs
    template: Outputs
    rows: NDArray[np.int64]
    views: NDArray[np.int64]


def _draw(job: Job, plan: CachePlan) -> _Sample:
    """Ask the teacher about some random entries, all at once."""
    kinds, step, generator = len(job.distiller.method.views), plan.rows.step, np.random.default_rng()
    pictures, rows, views = [], [], []
    # One at least: an answer says how many maps and members there are.
    for _ in range(max(1, job.config.cache.compared)):
        view = int(generator.integers(plan.views))
        start = int(generator.integers(-(-plan.rows.count // step))) * step
        stop = min(start + step, plan.rows.count)
        shown = torch.cat(list(plan.rows.pictures(view, start, stop, here=True)))
        shown = shown.view(kinds, -1, *shown.shape[1:])
        place = int(generator.integers(shown.shape[1]))
        pictures.append(shown[:, place])
        rows += [start + place * kinds + kind for kind in range(kinds)]
        views += [view] * kinds
    answer = ask_teacher(job, torch.stack(pictures, 1).flatten(0, 1)).apply(lambda values: values.detach().cpu())
    ordered = _without_classifiers(answer).apply(lambda values: by_image(values, kinds))
    return _Sample(ordered, answer, np.array(rows), np.array(views))


def _compare(reader: JointReader, sample: _Sample) -> str | None:
    """Return which cache differs from what the teacher says now, and where; None where none does."""
    live = split_answer(sample.answer)
    for one in reader.readers:
        found = one.read_tensors(sample.rows, sample.views)
        for kept, need in one.read_parts:
            columns = encode_part(kept, live[kept.name], one.basis)
            expected = fit_to_need(kept, need, decode_part(kept, columns, one.basis))
            # Each row by its own scale.
            scale = expected.flatten(1).abs().amax(1) + 1e-6
            wrong = (found[need.name] - expected).flatten(1).abs().amax(1) / scale
            # Written so that a NaN is wrong.
            bad = (~(wrong <= _tolerance(kept))).nonzero().flatten().tolist()
            if bad:
                where = f"{need.name} of row {sample.rows[bad[0]]} in view {sample.views[bad[0]]}"
                return f"{str(one.cache.path)!r} does not answer as the teacher does ({where})"
    return None


def _tolerance(part: Part) -> float:
    """Return what rounding may change: a batch of another size, and one level of the numbers that are kept."""
    return 2e-2 if part.encoding.number == "int8" else 5e-3
