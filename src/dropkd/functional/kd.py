"""Distillation of softened class probabilities (Hinton, Vinyals and Dean)."""

from __future__ import annotations

from torch import Tensor

from dropkd.functional.checks import check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import divergence
from dropkd.functional.precision import full_precision

__all__ = ["kd_loss"]


@full_precision
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence of the softened student from the softened teacher.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, at least 0: summed over classes, averaged over the batch, times the
        squared temperature. The factor ``temperature
        ** 2`` keeps the size of the gradients where the temperature changes.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.

    Example:
        >>> import torch
        >>> even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 100.0]])
        >>> round(kd_loss(even, sure, temperature=1.0).item(), 4)  # log 2
        0.6931
    """
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    rows = divergence(student_logits / temperature, teacher_logits.detach() / temperature)
    return rows.mean() * temperature**2
