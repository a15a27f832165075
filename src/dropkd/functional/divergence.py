"""Divergences of class probabilities, in log space so that no probability underflows under a logarithm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["binary_divergence", "divergence", "divergence_of_kept"]


def divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's softmax from the teacher's, in nats, for each row.

    Args:
        student_logits: (B, K), divided by the temperature.
        teacher_logits: (B, K), divided by the temperature; the expectation is taken under its softmax.

    Returns:
        (B,), at least 0.

    Example:
        >>> even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 100.0]])
        >>> round(divergence(even, sure).item(), 4)  # log 2
        0.6931
    """
    student, teacher = torch.log_softmax(student_logits, dim=1), torch.log_softmax(teacher_logits, dim=1)
    return (teacher.exp() * (teacher - student)).sum(dim=1)


def divergence_of_kept(student_logits: Tensor, teacher_logits: Tensor, keep: Tensor) -> Tensor:
    """Return the same over some of the classes, as if there were no others; 0 where a row keeps none.

    Args:
        student_logits: (B, K), divided by the temperature.
        teacher_logits: (B, K), divided by the temperature.
        keep: (B, K), bool.

    Returns:
        (B,), at least 0.

    Example:
        >>> logits, keep = torch.tensor([[0.0, 0.0, 50.0]]), torch.tensor([[True, True, False]])
        >>> divergence_of_kept(logits, logits.flip(0) + torch.tensor([[0.0, 0.0, 9.0]]), keep).item()
        0.0
    """
    # A row that keeps nothing is compared in full, so that no softmax is taken over nothing, and then left
    # out.
    filled = keep.any(dim=1)
    absent = ~keep & filled.unsqueeze(1)

    def take_logs(logits: Tensor) -> Tensor:
        logs = torch.log_softmax(logits.masked_fill(absent, float("-inf")), dim=1)
        return logs.masked_fill(absent, 0.0)

    student, teacher = take_logs(student_logits), take_logs(teacher_logits)
    shares = teacher.exp().masked_fill(absent, 0.0)
    return (shares * (teacher - student)).sum(dim=1) * filled


def binary_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's sigmoid from the teacher's, in nats, for each class by itself.

    Args:
        student_logits: any shape, divided by the temperature.
        teacher_logits: the same shape, divided by the temperature.

    Returns:
        The same shape, at least 0.

    Example:
        >>> even, sure = torch.tensor([0.0]), torch.tensor([100.0])
        >>> round(binary_divergence(even, sure).item(), 4)  # log 2
        0.6931
    """
    # 1 - sigmoid(z) is sigmoid(-z), which does not lose a small share to rounding.
    sides = ((student_logits, teacher_logits), (-student_logits, -teacher_logits))
    present, absent = (theirs.sigmoid() * (F.logsigmoid(theirs) - F.logsigmoid(ours)) for ours, theirs in sides)
    return present + absent
