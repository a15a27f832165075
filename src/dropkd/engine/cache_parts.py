"""What of a teacher's answer a run reads, found by trying the method on a few images."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dropkd.config import CacheConfig
from dropkd.contracts import Batch, Outputs
from dropkd.data import LoadedBatch
from dropkd.engine.job import Job
from dropkd.errors import ConfigError
from dropkd.teacher_cache import Encoding, Part
from dropkd.teacher_cache.building import split_answer
from dropkd.teacher_cache.probing import find_map_uses

__all__ = ["Trial", "ask_teacher", "try_method"]

# An answer that took longer was not slow for being the first.
_WARM_SECONDS = 1.0


@dataclass(frozen=True)
class Trial:
    """What a trial on a few images told.

    Args:
        parts: what the method reads of its teacher.
        macs: multiply-adds of the teacher for one picture.
        seconds: that it takes for one, here and now.
    """

    parts: tuple[Part, ...]
    macs: float
    seconds: float


def ask_teacher(job: Job, pictures: Tensor, parts: Iterable[Part] = ()) -> Outputs:
    """Return the teacher's answer, computed as in a step of training.

    Args:
        job: whose teacher is asked.
        pictures: (V * B, 3, H, W), uint8 or in 0..1.
        parts: what is wanted of the answer beside what the job's own method reads.
    """
    job.distiller.to(job.fabric.device)
    memory_format = torch.channels_last if job.config.training.channels_last else torch.contiguous_format
    with job.fabric.autocast():
        answer = job.distiller.ask_teacher(
            pictures.to(job.fabric.device, memory_format=memory_format), _name_fields(parts)
        )
    if answer is None:
        raise ConfigError(f"{job.config.method.name} reads nothing of a teacher.")
    return answer.float()


def _name_fields(parts: Iterable[Part]) -> set[str]:
    """Return the fields of an answer that these parts lie in."""
    kinds = (re.sub(r"\d+$", "", part.name.rpartition(".")[2]) for part in parts)
    return {f"{kind}s" if kind in ("map", "preactivation") else kind for kind in kinds}


def try_method(job: Job, sample: LoadedBatch) -> Trial:
    """Return what the method reads of its teacher, and what the teacher costs."""
    config, distiller = job.config.cache, job.distiller
    answer, macs, seconds = _measure_teacher(job, sample)
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
    return Trial(tuple(parts), macs / len(images), seconds / len(images))


def _measure_teacher(job: Job, sample: LoadedBatch) -> tuple[Outputs, float, float]:
    """Return the teacher's answer to a few images, its multiply-adds and its seconds; asked once by runs alike."""

    def measure() -> tuple[Outputs, float, float]:
        with FlopCounterMode(display=False) as counter:
            answer, seconds = _time_teacher(job, sample)
        if seconds < _WARM_SECONDS:
            # The first answer of a process is slow.
            answer, seconds = _time_teacher(job, sample)
        return answer, counter.get_total_flops() / 2, seconds

    method, config = job.distiller.method, job.config
    asked = (
        id(job.distiller.teacher), id(job.data), job.view_size, repr(job.recipe), config.view_seed, method.views,
        config.training.precision, frozenset(method.teacher_reads), len(sample.images),
    )  # fmt: skip
    return job.shared.remember(("sample", *asked), measure)


def _time_teacher(job: Job, sample: LoadedBatch) -> tuple[Outputs, float]:
    started = time.perf_counter()
    answer = ask_teacher(job, sample.images)
    if job.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    return answer, time.perf_counter() - started


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
