"""The running average of the student's weights."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["average_weights", "warm_decay"]


def average_weights(student: nn.Module, decay: float, *, warms_up: bool = True) -> AveragedModel | None:
    """Return the running average of a network's weights and buffers, or None where ``decay`` is 0.

    Args:
        student: the network.
        decay: share of the average that each step keeps.
        warms_up: keep less of it in the first steps, see :func:`warm_decay`.
    """
    return _Average(student, decay, warms_up) if decay else None


class _Average(AveragedModel):
    """Averages as torch's class does, without sending the number of steps to the device, which waits for it."""

    def __init__(self, student: nn.Module, decay: float, warms_up: bool) -> None:
        super().__init__(student, use_buffers=True)
        self.decay, self.warms_up = decay, warms_up

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Add a step's weights to the average."""
        pairs = list(zip(*(chain(m.parameters(), m.buffers()) for m in (self.module, model)), strict=True))
        # The counter is on the CPU, where reading it waits for no device.
        count = int(self.n_averaged)
        decay = warm_decay(self.decay, count) if self.warms_up else self.decay
        blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        for is_float in (True, False):
            chosen = [pair for pair in pairs if pair[0].is_floating_point() == is_float]
            if not chosen:
                continue
            averages, values = (list(tensors) for tensors in zip(*chosen, strict=True))
            if count:
                blend(averages, values, count)
            else:
                torch._foreach_copy_(averages, values)
        self.n_averaged += 1


def warm_decay(decay: float, count: int) -> float:
    """Return the decay of the average after so many steps that it holds already: ``(1 + n) / (10 + n)`` at most.

    With 0.9999 alone, the average of a run of a few thousand steps is mostly that of its first weights. This rule lets
    it reach back over about a ninth of the steps so far until the decay itself is reached, after 8,990 steps for 0.999.

    Args:
        decay: the decay in the long run.
        count: steps averaged so far.

    References:
        The rule of TensorFlow's ``ExponentialMovingAverage(decay, num_updates)``.

    Example:
        >>> [round(warm_decay(0.999, count), 3) for count in (0, 1, 90, 8990)]
        [0.1, 0.182, 0.91, 0.999]
    """
    return min(decay, (1 + count) / (10 + count))
