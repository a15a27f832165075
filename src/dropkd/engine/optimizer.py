"""The optimiser over all that is trained: the student and the method's projectors alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dropkd.engine.plan import ResolvedTraining

__all__ = ["make_optimizer"]


def make_optimizer(module: nn.Module, training: ResolvedTraining) -> Optimizer:
    """Return AdamW or SGD over every parameter of ``module`` that requires a gradient.

    Under AdamW, biases and normalisation parameters (one dimension) are not decayed; under SGD everything is, as in
    the CIFAR-100 benchmarks of the field.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    lr, decay = training.lr, training.weight_decay
    if training.optimizer == "sgd":
        groups = [{"params": trained, "weight_decay": decay}]
    else:
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    # Each group remembers its base rate: the schedule is a factor on it, and a checkpoint keeps it.
    described: list[dict[str, Any]] = [{**group, "base_lr": lr} for group in groups if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(described, lr=lr, momentum=training.momentum, nesterov=training.nesterov)
    return torch.optim.AdamW(described, lr=lr)
