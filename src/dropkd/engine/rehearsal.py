"""A dry run: everything is built, a few real steps are timed, nothing is written."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from dropkd.config import Config, dump_config
from dropkd.contracts import Shapes
from dropkd.data import MixedLoader, TrainLoader
from dropkd.engine.allocation import peak_memory
from dropkd.engine.cache_plan import plan_cache
from dropkd.engine.finetuning import RateRow
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.pool import describe_steps
from dropkd.engine.setup import prepare_job
from dropkd.engine.training import Training
from dropkd.models import count_parameters

__all__ = ["DryRun", "rehearse"]

_WARM_STEPS, _TIMED_STEPS = 2, 5


@dataclass(frozen=True)
class DryRun:
    """What a run would do and cost.

    Args:
        config: the resolved configuration, as YAML.
        student: shapes of the student's answer.
        teacher: shapes of the teacher's answer, or None.
        parameters: number of parameters of ``student``, ``teacher`` and ``method``.
        images: number of images of each split.
        mix: what a step and an epoch show of labelled and unlabelled images; None without the latter.
        cache: what the teacher's cache would take and whether it would be used; None where there is nothing to keep.
        steps: steps of the whole run.
        seconds_per_step: median of a few real steps, after a warm-up.
        seconds: estimate for the whole run, validation included.
        rates: what is trained when, and at which rate.
        layers_by: what orders the layers.
        peak_memory: bytes; of the GPU's memory where there is one, else of the process.
    """

    config: str
    student: Shapes
    teacher: Shapes | None
    parameters: dict[str, int]
    images: dict[str, int]
    mix: str | None
    cache: str | None
    steps: int
    seconds_per_step: float
    seconds: float
    rates: tuple[RateRow, ...]
    layers_by: str
    peak_memory: int


def rehearse(config: Config, observer: Observer) -> DryRun:
    """Build a run, time a few of its steps and estimate what it will take."""
    job = prepare_job(config, observer, keeps_pixels=False)
    with tempfile.TemporaryDirectory() as scratch:
        loader, val = job.train_loader(), job.data.val
        val_loader = job.eval_loader(val, job.distiller.student) if val is not None else None
        training = Training(
            job.config,
            Path(scratch),
            job.distiller,
            job.finetuning,
            loader,
            val_loader,
            None,
            None,
            job.fabric,
            observer,
            "",
            qat=job.qat,
        )
        # A step costs less while most of the network rests.
        timed = [(_time_steps(job, training, epoch), epochs) for epoch, epochs in job.finetuning.phases]
        started = time.perf_counter()
        if val_loader is not None:
            training.answer(job.distiller.student, val_loader)
        validation = (time.perf_counter() - started) * job.config.training.epochs
        seconds = validation + sum(per_step * len(loader) * epochs for per_step, epochs in timed)
    teacher = job.distiller.teacher
    splits = job.data.splits if job.unlabelled is None else (*job.data.splits, job.unlabelled.split)
    return DryRun(
        config=dump_config(job.config),
        student=job.distiller.student.shapes,
        teacher=teacher.shapes if teacher is not None else None,
        parameters={
            "student": count_parameters(job.distiller.student.model),
            "teacher": count_parameters(teacher.model) if teacher is not None else 0,
            "method": count_parameters(job.distiller.method),
        },
        images={split.name: len(split) for split in splits},
        mix=describe_steps(loader, job.config.training.epochs),
        cache=_describe_cache(job, loader, observer),
        steps=training.total_steps,
        seconds_per_step=max(per_step for per_step, _ in timed),
        seconds=seconds * (2 if job.config.baseline else 1),
        rates=job.finetuning.tabulate(),
        layers_by=job.finetuning.depths.by,
        peak_memory=peak_memory(job.fabric.device),
    )


def _describe_cache(job: Job, loader: TrainLoader | MixedLoader, observer: Observer) -> str | None:
    plan = plan_cache(job, loader, observer)
    if plan is None:
        return None
    said = plan.describe().removeprefix("Teacher cache: ")
    if plan.there >= plan.views:
        return said
    wanted = job.config.cache.mode == "on" or plan.pays
    return f"{said} It {'would' if wanted else 'would not'} be built{'' if wanted else ' without --teacher-cache'}."


def _time_steps(job: Job, training: Training, epoch: int) -> float:
    device, times = job.fabric.device, []
    training.start_epoch(epoch)
    for number, batch in enumerate(training.train_loader.epoch(0)):
        started = time.perf_counter()
        training._step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= _WARM_STEPS or len(training.train_loader) <= _WARM_STEPS:
            times.append(time.perf_counter() - started)
        if number + 1 >= _WARM_STEPS + _TIMED_STEPS:
            break
    return statistics.median(times)
