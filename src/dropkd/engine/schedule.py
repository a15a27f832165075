"""The learning rate as a pure function of the step, so that a resumed run can't get it wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule over optimiser steps.

    Args:
        kind: ``cosine`` (half a cosine from 1 to ``final_factor`` after the warm-up), ``step`` (times ``decay_factor``
            after each milestone), ``exponential`` (times ``decay_factor`` after each epoch) or ``constant``.
        total_steps: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps of an epoch.
        warmup_steps: steps over which the factor rises linearly from 1 / warmup_steps to 1.
        milestones: epochs after which a ``step`` schedule decays, counted as epochs done: with 150 the 151st epoch is
            the first at the lower rate.
        decay_factor: factor at each milestone, or after each epoch.
        final_factor: where a ``cosine`` would arrive one step after the last.
        probe_steps: steps before everything else, with rates of their own that fall to 0 along half a cosine; warm-up,
            cosine and exponential decay begin after them, milestones count them.

    Example:
        >>> Schedule("step", 10, 1, milestones=(5,), decay_factor=0.1).factor(5)
        0.1
    """

    kind: str
    total_steps: int
    steps_per_epoch: int
    warmup_steps: int = 0
    milestones: Sequence[int] = ()
    decay_factor: float = 0.1
    final_factor: float = 0.0
    probe_steps: int = 0

    def factor(self, step: int) -> float:
        """Return the factor on the base learning rate for the step with this number, counted from 0."""
        if step < self.probe_steps:
            return _fall(step / self.probe_steps)
        done = step - self.probe_steps
        if done < self.warmup_steps:
            return (done + 1) / self.warmup_steps
        if self.kind == "cosine":
            span = max(1, self.total_steps - self.probe_steps - self.warmup_steps)
            return self.final_factor + (1 - self.final_factor) * _fall((done - self.warmup_steps) / span)
        if self.kind == "step":
            epoch = step // self.steps_per_epoch
            return float(self.decay_factor ** sum(epoch >= milestone for milestone in self.milestones))
        if self.kind == "exponential":
            return float(self.decay_factor ** (done // self.steps_per_epoch))
        return 1.0

    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Set the learning rate of each parameter group to its base rate, or that of the probe, times the factor."""
        base, factor = "probe_lr" if step < self.probe_steps else "base_lr", self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group[base] * factor


def _fall(share: float) -> float:
    """Return half a cosine from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))
