"""The running average of the student's weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["average_weights", "warm_decay"]

_Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(student: nn.Module, decay: float, *, warms_up: bool = True) -> AveragedModel | None:
    """Return the running average of a network's weights and buffers, or None where ``decay`` is 0.

    Args:
        student: the network.
        decay: share of the average that each step keeps.
        warms_up: keep less of it in the first steps, see :func:`warm_decay`.
    """
    if not decay:
        return None
    if not warms_up:
        constant = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        return AveragedModel(student, multi_avg_fn=constant, use_buffers=True)

    def average(old: _Tensors, new: _Tensors, count: Tensor | int) -> None:
        # The module's own counter is on the CPU, where reading it waits for no device.
        share = warm_decay(decay, int(averaged.n_averaged))
        get_ema_multi_avg_fn(share)(old, new, count)  # type: ignore[no-untyped-call]

    averaged = AveragedModel(student, multi_avg_fn=average, use_buffers=True)
    return averaged


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
