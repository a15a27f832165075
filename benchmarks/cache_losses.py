"""How much each way of keeping a teacher's answers changes a method's loss, its gradient, and the maps themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import dropkd
from dropkd.config import load_config, update_config
from dropkd.contracts import Outputs
from dropkd.data import LoadedBatch
from dropkd.engine.cache_parts import ask_teacher, try_method
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.wiring import CROSS_ENTROPY
from dropkd.methods.registry import method_class, method_names
from dropkd.metrics import MinibatchCKA
from dropkd.teacher_cache import Part
from dropkd.teacher_cache.building import find_basis, split_answer
from dropkd.teacher_cache.encoding import decode_part, encode_part
from dropkd.teacher_cache.reading import assemble

__all__ = ["measure_losses", "taught_methods", "train_a_little"]

# By then warm-ups are over.
_EPOCH = 30


def taught_methods() -> list[str]:
    """Return the methods that read something of a teacher."""
    return [name for name in method_names() if method_class(name).teacher_reads]


def train_a_little(folder: Path, output: Path) -> Path:
    """Return the weights of a student that has learned something, and not all."""
    run = dropkd.train(
        folder, model="cifar_resnet8", output=output, epochs=4, lr=5e-3, batch_size=32,
        settings={"threads": 1, "data.validation_fraction": 0.0},
    )  # fmt: skip
    return run.folder / "student.safetensors"


def measure_losses(
    folder: Path, teacher: Path, student: Path, method: str, settings: Mapping[str, Mapping[str, Any]], batches: int
) -> Iterator[dict[str, Any]]:
    """Yield for each setting the largest change of the method's loss, of its gradient, and the smallest CKA of a map.

    Args:
        folder: the images.
        teacher: file of the teacher.
        student: weights to start from.
        method: its name.
        settings: keys of the configuration by the setting's name.
        batches: how many are compared.
    """
    flags = {
        "data.path": str(folder), "student.name": "cifar_resnet8", "student.checkpoint": str(student),
        "teacher.source": str(teacher), "method.name": method, "training.batch_size": 64,
        "data.validation_fraction": 0.0, "threads": 1,
    }  # fmt: skip
    config = load_config(flags=flags)
    job = prepare_job(config, Observer())
    loader = job.train_loader()
    lessons = list(loader.images_in_order(0, 0, min(64 * batches, loader.images), 64))
    answers = [ask_teacher(job, lesson.images) for lesson in lessons]
    exact = [_differentiate(job, lesson, answer) for lesson, answer in zip(lessons, answers, strict=True)]
    for name, keys in settings.items():
        job.config = job.config.model_copy(update={"cache": update_config(config, dict(keys)).cache})
        parts = try_method(job, lessons[0]).parts
        kept = list(_keep(parts, answers))
        found = [_differentiate(job, lesson, answer) for lesson, answer in zip(lessons, kept, strict=True)]
        pairs = list(zip(found, exact, strict=True))
        yield {
            "method": method,
            "setting": name,
            "loss_change": max(abs(one[0] / other[0] - 1) for one, other in pairs),
            "gradient_change": max(float((one[1] - other[1]).norm() / other[1].norm()) for one, other in pairs),
            "cka": _compare_maps(parts, answers, kept),
        }


def _keep(parts: tuple[Part, ...], answers: list[Outputs]) -> Iterator[Outputs]:
    """Yield the answers as they come back from a cache that keeps these parts."""
    basis = find_basis(parts, answers)
    for answer in answers:
        tensors = split_answer(answer)
        kept = {part.name: decode_part(part, encode_part(part, tensors[part.name], basis), basis) for part in parts}
        yield assemble(kept, answer, len(answer.logits))


def _differentiate(job: Job, lesson: LoadedBatch, answer: Outputs) -> tuple[float, Tensor]:
    """Return the method's weighted terms without the labels' one, and their gradient at the student's weights."""
    distiller = job.distiller
    method, own = copy.deepcopy(distiller.method), distiller.method
    # Some methods draw at random, and some remember what they were shown.
    torch.manual_seed(0)
    distiller.method = method
    try:
        distiller.train()
        losses = distiller(lesson.images, lesson.target, lesson.index, _EPOCH, None, answer)
        taught = torch.stack([value for name, value in losses.weighted.items() if name != CROSS_ENTROPY]).sum()
        parameters = [p for p in distiller.student.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(taught, parameters, allow_unused=True)
    finally:
        distiller.method = own
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return float(taught.detach()), torch.cat([g.flatten() for g in flat])


def _compare_maps(parts: tuple[Part, ...], answers: list[Outputs], kept: list[Outputs]) -> float | None:
    """Return the smallest CKA between a map as it is kept and as it is; None where no map is read."""
    similarities = []
    for part in parts:
        if len(part.shape) != 3:
            continue
        cka = MinibatchCKA()
        for one, other in zip(kept, answers, strict=True):
            found, exact = split_answer(one)[part.name], split_answer(other)[part.name]
            cka.update(found.flatten(1).double(), exact.flatten(1).double())
        similarities.append(float(cka.compute()))
    return min(similarities, default=None)
