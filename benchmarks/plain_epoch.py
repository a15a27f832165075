"""What a plain training epoch at 32 px costs over the model's own time: `input_pipeline.py` prints it.

A round times one epoch's steps of a real run (loading, augmenting, the step with its schedule, losses, tally and
journal) and as many bare steps of the same model with the same optimizer on one batch of random numbers, in turn.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dropkd.config import Config
from dropkd.engine.job import Job
from dropkd.engine.journal import Journal
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import StopRequest
from dropkd.engine.training import Training

__all__ = ["MODELS", "measure_epochs"]

MODELS, BATCH, BOUND = ("cifar_resnet20", "cifar_resnet8x4"), 64, 1.1


def measure_epochs(model: str, data: Path, scratch: Path, rounds: int) -> dict[str, Any]:
    """Return seconds of the processor of an epoch and of its bare steps, and the ratios of the rounds."""
    job = prepare_job(_configure(model, data, rounds), Observer())
    bare, steps = _prepare_bare_steps(job), len(job.train_loader())
    times: dict[str, list[float]] = {"bare": [], "epoch": []}
    with _train(job, scratch) as training:
        for number in range(rounds + 1):
            # The first round warms up both.
            for name, run in (("bare", bare), ("epoch", lambda: next(training))):
                started = time.process_time()
                for _ in range(steps):
                    run()
                if number:
                    times[name].append(time.process_time() - started)
    ratios = [epoch / bare for epoch, bare in zip(times["epoch"], times["bare"], strict=True)]
    ratio = statistics.median(ratios)
    return {
        "model": model,
        "batch": BATCH,
        "steps": steps,
        "rounds": rounds,
        **{f"{name}_seconds": round(statistics.median(values), 4) for name, values in times.items()},
        "ratio": round(ratio, 3),
        "quartiles": [round(value, 3) for value in statistics.quantiles(ratios)[::2]] if rounds > 1 else None,
        "bound": BOUND,
        "kept": ratio <= BOUND,
    }


def _configure(model: str, data: Path, rounds: int) -> Config:
    training = {"epochs": rounds + 2, "batch_size": BATCH, "optimizer": "sgd", "checkpoint_minutes": 1000}
    return Config.model_validate(
        {"data": {"path": data}, "student": {"name": model}, "method": {"name": "plain"}, "training": training}
    )


def _prepare_bare_steps(job: Job) -> Any:
    """Return what does one step of the same model on random numbers."""
    network, classes = copy.deepcopy(job.distiller.student.model), len(job.data.classes)
    settings = job.config.training
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
    images, target = torch.randn(BATCH, 3, 32, 32), torch.randint(classes, (BATCH,))
    network.train()

    def step() -> None:
        F.cross_entropy(network(images), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@contextmanager
def _train(job: Job, scratch: Path) -> Iterator[Iterator[None]]:
    """Give a real run, a step at a time."""
    training = Training(
        config=job.config,
        folder=scratch,
        distiller=job.distiller,
        finetuning=job.finetuning,
        train_loader=job.train_loader(),
        val_loader=None,
        test_loader=None,
        val_teacher=None,
        fabric=job.fabric,
        observer=Observer(),
        data_sha256="",
    )
    journal = Journal(scratch / "metrics.jsonl")
    steps = training.steps(journal, StopRequest())
    try:
        yield steps
    finally:
        steps.close()  # type: ignore[attr-defined]
        journal.close()
