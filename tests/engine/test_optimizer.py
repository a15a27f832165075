"""The optimiser's update in one kernel: where it is chosen, and that it is the same to within rounding."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dropkd.config import FinetuneConfig
from dropkd.engine.distiller import Distiller
from dropkd.engine.finetuning import FineTuning, RateGroup
from dropkd.engine.optimizer import make_optimizer
from dropkd.engine.plan import ResolvedTraining
from dropkd.models import build_network


def tune(**changes: Any) -> FineTuning:
    settings = {"optimizer": "adamw", "epochs": 1, "batch_size": 8, "lr": 0.1, "weight_decay": 5e-4, "warmup_epochs": 0}
    network = build_network("cifar_resnet8", num_classes=3, image_size=(32, 32))
    training = ResolvedTraining.model_validate({**settings, **changes})
    return FineTuning(Distiller(network, method="plain"), FinetuneConfig(), training)


def on_a_gpu(finetuning: FineTuning, **changes: Any) -> Any:
    """Return the same for parameters on a GPU, which need not be there."""

    def move(group: RateGroup) -> RateGroup:
        moved = ((name, nn.Parameter(torch.empty_like(p, device="cuda"))) for name, p in group.parameters)
        return RateGroup(group.part, tuple(moved), group.lr, group.probe_lr)

    with FakeTensorMode(allow_non_fake_inputs=True):
        groups = [move(group) for group in finetuning.groups]
    return SimpleNamespace(**{"groups": groups, "training": finetuning.training, "model": finetuning.model, **changes})


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_kernel_updates_all_on_a_gpu_and_torch_chooses_elsewhere(optimizer: str) -> None:
    finetuning = tune(optimizer=optimizer)
    assert make_optimizer(finetuning).defaults["fused"] is None
    assert make_optimizer(on_a_gpu(finetuning)).defaults["fused"] is True


def test_gradients_that_are_clipped_and_scaled_are_not_left_to_the_kernel() -> None:
    assert make_optimizer(on_a_gpu(tune(precision="16"))).defaults["fused"] is True
    assert make_optimizer(on_a_gpu(tune(precision="16", gradient_clip=1.0))).defaults["fused"] is None
    assert make_optimizer(on_a_gpu(tune(precision="bf16", gradient_clip=1.0))).defaults["fused"] is True


def test_a_parameter_with_gaps_in_memory_is_not_left_to_the_kernel() -> None:
    # Its gradient lies in memory without gaps, so the kernel would pair other numbers.
    with FakeTensorMode():
        sparse = nn.Parameter(torch.empty(4, 6, device="cuda")[:, ::2])
    groups = [RateGroup("backbone", (("student.model.weight", sparse),), 0.1, 0.0)]
    assert make_optimizer(on_a_gpu(tune(), groups=groups)).defaults["fused"] is None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_kernel_updates_as_torch_does(optimizer: str) -> None:
    torch.manual_seed(0)
    finetuning = tune(optimizer=optimizer, nesterov=optimizer == "sgd")
    other = copy.deepcopy(finetuning)
    one, fused = make_optimizer(finetuning), make_optimizer(other)
    for group in fused.param_groups:
        group["fused"] = True
    for _ in range(5):
        for ours, theirs in zip(*(chain_parameters(o) for o in (one, fused)), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        one.step()
        fused.step()
    for ours, theirs in zip(*(chain_parameters(o) for o in (one, fused)), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not torch.equal(theirs, torch.zeros_like(theirs))


def chain_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
