"""What a training takes of the memory, found out before it starts, and how much there is."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dropkd.engine.job import Job

__all__ = ["Footprint", "free_memory", "measure_footprint"]

# Numbers of an optimizer for each one that it trains: AdamW has two moments, SGD its momentum.
_MOMENTS = {"adamw": 2, "sgd": 1}
# Images that a pass is tried with.
_MEASURED = 2
# Limits of a container's memory and what it uses of it, in the two forms that Linux has.
_CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Footprint:
    """Bytes that a training takes.

    Args:
        kept: from its first step to its last: weights, what the optimizer remembers, a running average.
        working: during a step beside that: gradients and what the backward pass needs.
    """

    kept: int
    working: int


def measure_footprint(job: Job) -> Footprint:
    """Return what a training takes, found by a forward pass of a copy on one real batch.

    The teacher and the images are left out: trainings that take turns share them.
    """
    distiller, training = job.distiller.to(job.fabric.device), job.config.training
    trained = _count_bytes(p for p in distiller.parameters() if p.requires_grad)
    own = _count_bytes([*distiller.parameters(), *distiller.buffers()])
    average = _count_bytes([*distiller.student.parameters(), *distiller.student.buffers()])
    kept = own + _MOMENTS[training.optimizer] * trained + (average if training.ema_decay else 0)
    # Gradients that are added up stay from one step to the next.
    kept += trained if training.accumulate > 1 else 0
    return Footprint(kept, trained + _measure_activations(job))


def _measure_activations(job: Job) -> int:
    """Return the bytes that a step's forward pass leaves for its backward pass."""
    known = {id(part): part for part in (job.distiller.teacher,) if part is not None}
    # A copy, since batch norms and methods remember what they were shown; of all but the teacher.
    distiller = copy.deepcopy(job.distiller, known).train()
    sizes = {_place_of(p): 0 for p in distiller.parameters()}

    def note(values: Tensor) -> Tensor:
        sizes.setdefault(_place_of(values), values.untyped_storage().nbytes())
        return values

    loader, method, device = job.train_loader(), distiller.method, job.fabric.device
    batch = job.config.training.batch_size * (1 if job.unlabelled is None else 1 + job.config.data.unlabelled_ratio)
    # A large teacher takes its time, and what is left grows with the images.
    shown = min(max(_MEASURED, method.least_batch), loader.images)
    sample = next(loader.images_in_order(0, 0, shown, shown, here=True))
    images = sample.images.to(device)
    with job.fabric.autocast():
        answer = job.shared.remember(_describe_asking(job, shown), partial(job.distiller.ask_teacher, images))
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda values: values)
    with fork, hooks, job.fabric.autocast():
        target, index = sample.target.to(device), sample.index.to(device)
        distiller(images, target, index, teacher_outputs=answer)
    return round(sum(sizes.values()) * batch / shown)


def _describe_asking(job: Job, images: int) -> tuple[object, ...]:
    """Return all that the teacher's answer to the first so many images depends on."""
    config, method = job.config, job.distiller.method
    return (
        "a few images", images, id(job.distiller.teacher), frozenset(method.teacher_reads), id(job.data),
        job.view_size, repr(job.recipe), method.views, config.view_seed, config.training.precision,
    )  # fmt: skip


def _place_of(values: Tensor) -> int:
    return values.untyped_storage().data_ptr()


def _count_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free for trainings on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for limit, used in _CONTAINER:
        # No limit reads as "max" or as a number larger than any machine.
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(0, min(found))
