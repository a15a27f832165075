"""Which cache of a teacher's answers belongs to a run, what it takes, and whether it pays."""

from __future__ import annotations

import copy
import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from dropkd.config import CacheConfig
from dropkd.contracts import Batch, Outputs
from dropkd.data import LoadedBatch, MixedLoader, TrainLoader
from dropkd.data.jpegs import DECODING
from dropkd.engine.cache_rows import Rows, choose_rows
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.setup import hash_weights
from dropkd.errors import ConfigError
from dropkd.files import say_bytes
from dropkd.models import Network
from dropkd.models.source_lists import split_sources
from dropkd.models.teachers.logits_only import CalledTeacher
from dropkd.teacher_cache import CacheKey, Encoding, Part, cache_root, list_caches
from dropkd.teacher_cache.building import split_answer
from dropkd.teacher_cache.probing import find_map_uses

__all__ = ["CachePlan", "ask_teacher", "plan_cache"]

# Images that show what a method reads of its teacher, and batches that the teacher is timed on.
_PROBED, _TIMED = 8, 3
# A cache is built unasked where it saves this share of the teacher's time, and takes no more than this of the disk.
_WORTH, _SHARE_OF_DISK = 0.3, 0.25
# A shorter saving is not worth a file.
_LEAST_SECONDS = 60.0
# What decides a number of the teacher's or a pixel of a view.
_LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")
# The same of libraries that only some teachers come from, by the package of their modules.
_FOREIGN = {"transformers": "transformers", "open_clip": "open_clip_torch"}


@dataclass(frozen=True)
class CachePlan:
    """A cache that would serve a run.

    Args:
        root: folder of all caches.
        key: what its answers depend on.
        parts: what is kept of an answer.
        rows: how the answers of a view are numbered.
        views: how many the run looks at.
        there: how many of them are on disk already.
        seconds: what asking the teacher about one view of everything takes.
        epochs: of the run.
    """

    root: Path
    key: CacheKey
    parts: tuple[Part, ...]
    rows: Rows
    views: int
    there: int
    seconds: float
    epochs: int

    @property
    def bytes_per_row(self) -> int:
        """What one answer takes."""
        return sum(part.bytes_per_image for part in self.parts)

    @property
    def bytes(self) -> int:
        """What all views take on disk."""
        return self.rows.count * self.views * self.bytes_per_row

    @property
    def pays(self) -> bool:
        """Whether it is worth building (or reading) unasked."""
        if self.there >= self.views:
            return True
        live = self.epochs * self.seconds
        saved = live - (self.views - self.there) * self.seconds
        return saved >= max(_LEAST_SECONDS, _WORTH * live) and self.bytes <= _SHARE_OF_DISK * _free_bytes(self.root)

    def describe(self) -> str:
        """Return in words what it takes and saves."""
        views = f"{self.views} view{'s' if self.views > 1 else ''}"
        size = f"{self.rows.count:,} answers of {self.bytes_per_row:,} bytes in {views}, {say_bytes(self.bytes)}"
        if self.there >= self.views:
            return f"Teacher cache: there already ({size})."
        build, live = (self.views - self.there) * self.seconds, self.epochs * self.seconds
        return (
            f"Teacher cache: {size}. Building it takes about {_in_time(build)}, asking the teacher in every step would "
            f"take {_in_time(live)} over {self.epochs} epochs."
        )


def plan_cache(job: Job, loader: TrainLoader | MixedLoader, observer: Observer) -> CachePlan | None:
    """Return the cache that would serve a run; None where there is nothing to keep or it is switched off.

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
    parts = _choose_parts(job, sample)
    root, views = cache_root(config.cache.folder), loader.distinct_views or training.epochs
    key = _make_key(job, teacher, rows, parts)
    there = min(_count_views(root, key, observer), views)
    seconds = 0.0 if there == views else _time_teacher(job, loader) * rows.count
    return CachePlan(root, key, parts, rows, views, there, seconds, training.epochs)


def ask_teacher(job: Job, pictures: Tensor) -> Outputs:
    """Return the teacher's answer, computed as in a step of training."""
    job.distiller.to(job.fabric.device)
    memory_format = torch.channels_last if job.config.training.channels_last else torch.contiguous_format
    with job.fabric.autocast():
        answer = job.distiller.ask_teacher(pictures.to(job.fabric.device, memory_format=memory_format))
    if answer is None:
        raise ConfigError(f"{job.config.method.name} reads nothing of a teacher.")
    return answer.float()


def _choose_parts(job: Job, sample: LoadedBatch) -> tuple[Part, ...]:
    """Return what the method reads of its teacher, found by trying it on a few images."""
    config, distiller = job.config.cache, job.distiller
    answer = ask_teacher(job, sample.images)
    images = sample.images.to(job.fabric.device)
    was_training = distiller.training
    distiller.eval()
    with torch.no_grad():
        student = distiller.ask_student(images).float()
    distiller.train(was_training)
    batch = Batch(sample.target.to(images.device), sample.index.to(images.device), 0, None)

    def terms(other: Outputs) -> Mapping[str, Tensor]:
        # A copy: some methods remember what they were shown.
        method = copy.deepcopy(distiller.method).train()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            found: dict[str, Tensor] = method(student, other, batch)
        return found

    tensors = split_answer(answer)
    parts = _choose_vectors(tensors, config, with_embedding="embedding" in distiller.method.teacher_reads)
    grids = [(height, width) for _, height, width in distiller.student.shapes.maps]
    for name, use in find_map_uses(terms, answer, grids).items():
        if use is not None:
            shape = tuple(tensors[name].shape[1:])
            channels = config.channels if config.channels is not None and config.channels < shape[0] else None
            parts.append(Part(name, shape, Encoding(config.number, None if use == shape[1:] else use, channels)))
    return tuple(parts)


def _choose_vectors(tensors: Mapping[str, Tensor], config: CacheConfig, *, with_embedding: bool) -> list[Part]:
    """Return the logits, and the embeddings where they are wanted, of the teacher and of an ensemble's members."""
    plain = Encoding("float32" if config.number == "float32" else "float16")
    parts = []
    for name, values in tensors.items():
        kind, width = name.rpartition(".")[2], values.shape[1]
        if kind == "logits":
            top = config.top_logits if config.top_logits is not None and config.top_logits < width else None
            parts.append(Part(name, (width,), replace(plain, top=top)))
        elif kind == "embedding" and with_embedding and width:
            parts.append(Part(name, (width,), plain))
    return parts


def _make_key(job: Job, teacher: Network, rows: Rows, parts: tuple[Part, ...]) -> CacheKey:
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
            "kept": {part.name: {k: v for k, v in part.to_dict().items() if k != "name"} for part in parts},
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


def _count_views(root: Path, key: CacheKey, observer: Observer) -> int:
    """Return how many views of this key are on disk; where none are, say what the nearest cache differs in."""
    caches = list_caches(root) if root.is_dir() else []
    same = [cache for cache in caches if cache.key.digest == key.digest]
    if same:
        return same[0].views()
    weights = key.fields["teacher"]["weights"]
    nearest = key.nearest(c.key for c in caches if c.key.fields["teacher"].get("weights") == weights)
    if nearest is not None:
        observer.on_message(f"No teacher cache fits: the nearest differs in {', '.join(key.differences(nearest))}.")
    return 0


def _time_teacher(job: Job, loader: TrainLoader | MixedLoader) -> float:
    """Return the seconds that one picture takes the teacher."""
    batch_size = job.config.training.batch_size
    times = []
    for batch in loader.images_in_order(0, 0, min(loader.images, batch_size * _TIMED), batch_size):
        started = time.perf_counter()
        ask_teacher(job, batch.images)
        if job.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started) / len(batch.images))
    return min(times)


def _free_bytes(root: Path) -> int:
    folder = next(parent for parent in (root.absolute(), *root.absolute().parents) if parent.exists())
    return shutil.disk_usage(folder).free


def _in_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
