"""What runs read of their teacher's answers, and what those answers depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dropkd.data import MixedLoader, TrainLoader
from dropkd.engine.cache_key import can_be_kept, describe_teacher
from dropkd.engine.cache_parts import Trial, try_method
from dropkd.engine.cache_rows import Rows, choose_rows
from dropkd.engine.cache_trials import keep_trial, name_trial, recall_trial
from dropkd.engine.job import Job
from dropkd.errors import ConfigError
from dropkd.models import Network
from dropkd.teacher_cache import CacheKey, Part, cache_root
from dropkd.teacher_cache.covering import unite_parts

__all__ = ["Needs", "find_needs", "unite_needs"]

# Images that show what a method reads of its teacher.
_PROBED = 8


@dataclass(frozen=True)
class Needs:
    """What one run, or several of one teacher and the same views, read of its answers.

    Args:
        root: folder of all caches.
        key: what the answers depend on.
        parts: what is read of an answer.
        rows: how the answers of a view are numbered.
        views: how many are looked at.
        epochs: of all runs together.
        macs: multiply-adds of the teacher for one row.
        seconds: that it takes for one, here.
        trial: file for what is read by a run alone; None for several.
    """

    root: Path
    key: CacheKey
    parts: tuple[Part, ...]
    rows: Rows
    views: int
    epochs: int
    macs: float
    seconds: float
    trial: Path | None = None

    def keep_trial(self) -> None:
        """Keep what trying the method told, so that the next run need not ask for it."""
        if self.trial is not None:
            keep_trial(self.trial, Trial(self.parts, self.macs, self.seconds))


def unite_needs(several: Iterable[Needs]) -> list[Needs]:
    """Return the needs of several runs as those of as few caches as will do: one for each key.

    A run finds its part of it as it would find a cache of its own. Where the teacher is asked once for several runs,
    each of their epochs saves as much as an epoch of one.
    """
    united: dict[str, Needs] = {}
    for needs in several:
        known = united.get(needs.key.digest)
        united[needs.key.digest] = (
            needs
            if known is None
            else replace(
                known,
                parts=unite_parts([known.parts, needs.parts]),
                views=max(known.views, needs.views),
                epochs=known.epochs + needs.epochs,
                trial=None,
            )
        )
    return list(united.values())


def find_needs(job: Job, loader: TrainLoader | MixedLoader) -> Needs | None:
    """Return what a run reads of its teacher; None where there is nothing to keep or it is switched off.

    Raises:
        ConfigError: the configuration asks for a cache of a teacher whose answers can't be kept.
    """
    config, teacher, method = job.config, job.distiller.teacher, job.distiller.method
    if config.cache.mode == "off" or teacher is None or not method.teacher_reads:
        return None
    if not can_be_kept(teacher):
        if config.cache.mode == "on":
            raise ConfigError(
                "The answers of a function can't be kept: nobody can tell whether it is the function that it was. "
                "Leave the cache off, --no-teacher-cache."
            )
        return None
    training, images = config.training, loader.images
    rows = choose_rows(
        loader, len(method.views), mixup=training.mixup, cutmix=training.cutmix, seed=config.seed,
        sampling=config.data.sampling,
    )  # fmt: skip
    if rows is None:
        if config.cache.mode == "on":
            raise ConfigError(
                "With unlabelled images the teacher's answers are kept for a number of views, --views V, and without "
                "mixup, CutMix or uneven sampling; else no picture comes twice."
            )
        return None
    root, views = cache_root(config.cache.folder), loader.distinct_views or training.epochs
    path = name_trial(job, describe_teacher(job, teacher, training.precision), root)

    def find_out() -> Trial:
        known = recall_trial(path)
        return known or try_method(
            job, next(loader.images_in_order(0, 0, min(max(_PROBED, method.least_batch), images), images))
        )

    trial = job.shared.remember(("trial", path), find_out)
    keep_trial(path, trial)
    key = _make_key(job, teacher, rows)
    return Needs(root, key, trial.parts, rows, views, training.epochs, trial.macs, trial.seconds, path)


def _make_key(job: Job, teacher: Network, rows: Rows) -> CacheKey:
    config = job.config
    return CacheKey(
        {
            **describe_teacher(job, teacher, config.training.precision),
            "data": job.data.train.fingerprint(),
            "unlabelled": None if job.unlabelled is None else job.unlabelled.split.fingerprint(),
            "recipe": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(job.recipe).items()},
            "views": {
                "seed": config.view_seed,
                "size": list(job.view_size),
                "kinds": list(job.distiller.method.views),
            },
            "order": rows.fields(),
        }
    )
