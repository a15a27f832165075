"""The engine's step never waits for a GPU: tried with everything on a device that holds no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from dropkd.config import Config
from dropkd.data import LoadedBatch
from dropkd.engine.caching import CachedTeacher, open_cache
from dropkd.engine.fabric import Fabric
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.training import Training
from dropkd.methods import method_names
from dropkd.testing import Wait, record_waits

META = torch.device("meta")


class Elsewhere:
    """A fabric whose device is another one than that of the processor it stands for."""

    device = META

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    def setup(self, module: nn.Module, optimizer: Optimizer) -> Any:
        return self.fabric.setup(module, optimizer, move_to_device=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fabric, name)


def make_training(job: Job, folder: Path, fabric: Any, cached: CachedTeacher | None = None) -> Training:
    loader = job.train_loader()
    return Training(
        config=job.config,
        folder=folder,
        distiller=job.distiller,
        finetuning=job.finetuning,
        train_loader=loader,
        val_loader=None,
        test_loader=None,
        val_teacher=None,
        fabric=fabric,
        observer=Observer(),
        data_sha256="",
        cached=cached,
    )


def find_waits(config: Config, folder: Path, *, is_cached: bool = False) -> tuple[list[Wait], Training]:
    """Return the waits of two steps that come after a real one, which may look at what it is given."""
    job = prepare_job(config, Observer())
    cached = open_cache(job, job.train_loader(), Observer()) if is_cached else None
    assert (cached is not None) == is_cached
    batches: list[LoadedBatch] = list(job.train_loader().epoch(0))[:3]
    make_training(job, folder, job.fabric)._step(batches[0])
    job.distiller.to(META)
    job.finetuning = FineTuning(job.distiller, job.config.finetune, job.config.training)
    training = make_training(job, folder, Elsewhere(job.fabric), cached)
    with record_waits() as waits:
        for batch in batches[1:]:
            training._step(batch)
            training.position.step += 1
    return waits, training


@pytest.mark.parametrize("method", method_names())
def test_no_step_of_a_method_waits(method: str, configure: Callable[..., Config], tmp_path: Path) -> None:
    waits, training = find_waits(configure(method), tmp_path)
    assert waits == []
    # Both steps were done to their end.
    assert training.position.step == 2
    assert all(parameter.is_meta for parameter in training.distiller.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"training__optimizer": "sgd", "training__nesterov": True, "training__accumulate": 2},
        {"training__mixup": 0.2, "training__cutmix": 1.0, "training__gradient_clip": 1.0},
        {"training__ema_decay": 0.99, "training__label_smoothing": 0.1, "training__class_weights": "balanced"},
        {"training__ema_decay": 0.99, "training__ema_warmup": False, "training__precision": "bf16"},
        {"finetune__probe_epochs": 1, "data__sampling": "balanced"},
    ],
    ids=lambda changes: " ".join(changes).replace("training__", ""),
)
def test_no_setting_of_training_makes_a_step_wait(
    changes: dict[str, Any], configure: Callable[..., Config], tmp_path: Path
) -> None:
    waits, training = find_waits(configure("kd", **changes), tmp_path)
    assert waits == []
    assert training.position.step == 2


def test_a_step_with_answers_from_a_cache_does_not_wait(configure: Callable[..., Config], tmp_path: Path) -> None:
    config = configure("dropkd", cache__mode="on", cache__folder=str(tmp_path / "cache"), data__distinct_views=1)
    waits, training = find_waits(config, tmp_path, is_cached=True)
    assert waits == []
    assert training.position.step == 2


def test_a_log_point_waits(configure: Callable[..., Config], tmp_path: Path) -> None:
    _, training = find_waits(configure("kd"), tmp_path)
    with record_waits() as waits:
        training.tally.flat_terms()
    assert [wait.where.partition(":")[0] for wait in waits] == ["tally.py"]
