"""Whatever a method trains is optimised, clipped, saved and moved, as the student is.

A projector that was left out of clipping has turned published rankings round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import build_distiller, draw_views, list_trained

from dropkd.config import Config, FinetuneConfig, load_config
from dropkd.engine.distiller import Distiller
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.observer import Observer
from dropkd.engine.optimizer import make_optimizer
from dropkd.engine.plan import ResolvedTraining
from dropkd.engine.setup import prepare_job
from dropkd.engine.training import Training
from dropkd.methods import method_class, method_names
from dropkd.models import build_network

# Long steps of small gradients, so that the difference of two float32 numbers is a step to three digits.
_RATE, _CLIP = 1.0, 0.1

EACH_METHOD = pytest.mark.parametrize("name", method_names())


def resolve_training(optimizer: Any = "sgd") -> ResolvedTraining:
    """Return a training without decay and momentum, so that nothing but this step's gradient moves a parameter."""
    return ResolvedTraining(
        epochs=1, batch_size=8, optimizer=optimizer, lr=0.1, weight_decay=0.0, momentum=0.0, warmup_epochs=0.0
    )


def configure(method: str, folder: Path) -> Config:
    """Return a run of plain gradient descent on real images, whose gradients are clipped far below their norm."""
    flags: dict[str, Any] = {
        "data.path": str(folder),
        "student.name": "cifar_resnet8",
        "method.name": method,
        "training.epochs": 1,
        "training.batch_size": 16,
        "training.optimizer": "sgd",
        "training.lr": _RATE,
        "training.momentum": 0.0,
        "training.weight_decay": 0.0,
        "training.schedule": "constant",
        "training.warmup_epochs": 0,
        "training.gradient_clip": _CLIP,
    }
    if method_class(method).teacher_reads:
        flags["teacher.source"] = "cifar_resnet14"
    return load_config(flags=flags)


def go_back(distiller: Distiller) -> None:
    images, target, index = draw_views(distiller, step=0)
    distiller(images, target, index).loss.backward()


@EACH_METHOD
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_all_that_a_method_trains_is_in_the_optimiser_once(name: str, optimizer: str) -> None:
    distiller = build_distiller(name)
    finetuning = FineTuning(distiller, FinetuneConfig(), resolve_training(optimizer))
    groups = make_optimizer(finetuning).param_groups
    optimised = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(optimised) == len(set(optimised))
    assert {id(parameter) for parameter in list_trained(distiller.method).values()} <= set(optimised)


@EACH_METHOD
def test_all_that_a_method_trains_is_in_the_norm_that_the_engine_clips(
    name: str, clothes: Path, tmp_path: Path
) -> None:
    teacher = build_network("cifar_resnet14", num_classes=3, image_size=(28, 28))
    job = prepare_job(configure(name, clothes), Observer(), teacher=teacher)
    loader = job.train_loader()
    training = Training(
        job.config, tmp_path, job.distiller, job.finetuning, loader, None, None, None, job.fabric, Observer(), ""
    )
    trained = list_trained(job.distiller.train())
    before = {key: parameter.detach().clone() for key, parameter in trained.items()}
    training._step(next(iter(loader.epoch(0))))
    moved = {key: (parameter.detach() - before[key]).norm() for key, parameter in trained.items()}
    # One step of plain gradient descent is as long as the clipped norm times the rate, over all that moves.
    assert torch.stack(list(moved.values())).norm().item() == pytest.approx(_CLIP * _RATE, rel=1e-3)
    assert [key for key, length in moved.items() if key.startswith("method.") and length == 0] == []


@EACH_METHOD
def test_all_that_a_method_trains_is_saved_and_restored(name: str) -> None:
    distiller, other = build_distiller(name, seed=0), build_distiller(name, seed=1)
    saved = distiller.state_dict()
    assert {f"method.{key}" for key in list_trained(distiller.method)} <= set(saved)
    other.load_state_dict(saved)
    restored = list_trained(other.method)
    for key, parameter in list_trained(distiller.method).items():
        assert torch.equal(parameter, restored[key]), key


@EACH_METHOD
def test_all_that_a_method_trains_changes_in_one_step(name: str) -> None:
    distiller = build_distiller(name)
    before = {key: parameter.detach().clone() for key, parameter in list_trained(distiller.method).items()}
    go_back(distiller)
    make_optimizer(FineTuning(distiller, FinetuneConfig(), resolve_training("adamw"))).step()
    assert [key for key, p in list_trained(distiller.method).items() if torch.equal(p, before[key])] == []
