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
    fused = _may_fuse([p for group in described for p in group["params"]], training)
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            described, lr=training.lr, momentum=training.momentum, nesterov=training.nesterov, fused=fused
        )
    return torch.optim.AdamW(described, lr=training.lr, fused=fused)


def _may_fuse(parameters: Sequence[nn.Parameter], training: ResolvedTraining) -> bool | None:
    """Return True where one kernel can update all parameters, else None, for torch's own choice.

    It rounds otherwise than the single operations, so on a CPU, where it gains a hundredth of a step, these stay.
    """
    if any(parameter.device.type != "cuda" for parameter in parameters):
        return None
    if training.precision == "16" and training.gradient_clip:
        # It would take back the scale of float16 itself, after the gradients are clipped.
        return None
    # The kernel pairs numbers by their places in memory, which gradients share with dense parameters alone.
    formats = (torch.contiguous_format, torch.channels_last)
    are_dense = all(any(p.is_contiguous(memory_format=f) for f in formats) for p in parameters)
    return True if are_dense else None


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
