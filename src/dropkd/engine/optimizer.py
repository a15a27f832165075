"""The optimiser over all that is trained: the student and the method's projectors alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dropkd.engine.finetuning import FineTuning, RateGroup
from dropkd.engine.plan import ResolvedTraining

__all__ = ["make_optimizer"]

_PREFIX = "student.model."


def make_optimizer(finetuning: FineTuning) -> Optimizer:
    """Return AdamW or SGD over every parameter that is ever trained, each group at its rate.

    Under AdamW, biases and normalisation parameters (one dimension) are not decayed, nor is what the model itself names
    (position embeddings and class tokens of timm's transformers); under SGD everything is, as in the CIFAR-100
    benchmarks of the field.
    """
    training, undecayed = finetuning.training, _name_undecayed(finetuning.model)
    described: list[dict[str, Any]] = []
    for group in finetuning.groups:
        for decay, chosen in _split_by_decay(group, training, undecayed):
            if chosen:
                # Each group remembers its base rates: the schedule is a factor on them, and a checkpoint keeps them.
                rates = {"base_lr": group.lr, "probe_lr": group.probe_lr}
                described.append({"params": chosen, "weight_decay": decay, **rates})
    if training.optimizer == "sgd":
        return torch.optim.SGD(described, lr=training.lr, momentum=training.momentum, nesterov=training.nesterov)
    return torch.optim.AdamW(described, lr=training.lr)


def _name_undecayed(model: nn.Module) -> tuple[str, ...]:
    """Return the names, or patterns of names, of the parameters that a model of timm wants left undecayed."""
    asked: Callable[[], Iterable[str]] | None = getattr(model, "no_weight_decay", None)
    return tuple(sorted(asked())) if callable(asked) else ()


def _split_by_decay(
    group: RateGroup, training: ResolvedTraining, undecayed: Sequence[str]
) -> list[tuple[float, list[nn.Parameter]]]:
    decay = training.weight_decay
    if training.optimizer == "sgd":
        return [(decay, [p for _, p in group.parameters])]

    def is_decayed(name: str, parameter: nn.Parameter) -> bool:
        own = name.removeprefix(_PREFIX)
        return parameter.ndim > 1 and not any(fnmatchcase(own, pattern) for pattern in undecayed)

    return [
        (decay, [p for name, p in group.parameters if is_decayed(name, p)]),
        (0.0, [p for name, p in group.parameters if not is_decayed(name, p)]),
    ]
