"""What runs read of their teacher's answers, and what those answers depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from dropkd.data import MixedLoader, TrainLoader
from dropkd.data.jpegs import DECODING
from dropkd.engine.cache_parts import try_method
from dropkd.engine.cache_rows import Rows, choose_rows
from dropkd.engine.job import Job
from dropkd.engine.setup import hash_weights
from dropkd.errors import ConfigError
from dropkd.models import Network
from dropkd.models.source_lists import split_sources
from dropkd.models.teachers.logits_only import CalledTeacher
from dropkd.teacher_cache import CacheKey, Part, cache_root
from dropkd.teacher_cache.covering import unite_parts

__all__ = ["Needs", "find_needs", "unite_needs"]

# Images that show what a method reads of its teacher.
_PROBED = 8
# What decides a number of the teacher's or a pixel of a view.
_LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")
# The same of libraries that only some teachers come from, by the package of their modules.
_FOREIGN = {"transformers": "transformers", "open_clip": "open_clip_torch"}


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
        seconds: that it takes for one, here and now.
    """

    root: Path
    key: CacheKey
    parts: tuple[Part, ...]
    rows: Rows
    views: int
    epochs: int
    macs: float
    seconds: float


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
    if any(isinstance(module, CalledTeacher) for module in teacher.modules()):
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
    sample = next(loader.images_in_order(0, 0, min(max(_PROBED, method.least_batch), images), images))
    trial = try_method(job, sample)
    views = loader.distinct_views or training.epochs
    key = _make_key(job, teacher, rows)
    root = cache_root(config.cache.folder)
    return Needs(root, key, trial.parts, rows, views, training.epochs, trial.macs, trial.seconds)


def _make_key(job: Job, teacher: Network, rows: Rows) -> CacheKey:
    config = job.config
    spec = teacher.spec.to_dict()
    shown = ("image_size", "mean", "std", "interpolation", "crop_fraction")
    preprocessing = {name: spec.pop(name) for name in shown}
    return CacheKey(
        {
            "teacher": {"weights": hash_weights(teacher), "model": spec, "programs": _hash_programs(job)},
            "preprocessing": preprocessing,
            "data": job.data.train.fingerprint(),
            "unlabelled": None if job.unlabelled is None else job.unlabelled.split.fingerprint(),
            "decoding": DECODING,
            "recipe": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(job.recipe).items()},
            "views": {
                "seed": config.view_seed,
                "size": list(job.view_size),
                "kinds": list(job.distiller.method.views),
            },
            "order": rows.fields(),
            "precision": {"training": config.training.precision, "device": job.fabric.device.type},
            "libraries": {name: version(name) for name in (*_LIBRARIES, *_find_foreign(teacher))},
        }
    )


def _find_foreign(teacher: Network) -> list[str]:
    packages = {type(module).__module__.partition(".")[0] for module in teacher.modules()}
    return sorted(_FOREIGN[package] for package in packages & _FOREIGN.keys())


def _hash_programs(job: Job) -> list[str]:
    """Return hashes of the teacher's files, which may be programs that weights don't tell everything of."""
    if job.config.teacher is None:
        return []
    files = (Path(source) for source in split_sources(job.config.teacher.source))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
