"""Distillation decoupled into the target class and the others (Zhao and others)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.functional.checks import check_class_numbers, check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import divergence, divergence_of_kept
from dropkd.functional.precision import full_precision

__all__ = ["dkd_loss", "nckd_loss", "tckd_loss"]


@full_precision
def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Weighted sum of :func:`tckd_loss` and :func:`nckd_loss`.

    Args:
        student_logits: (B, K), before any softmax; at least two classes.
        teacher_logits: (B, K); no gradient flows to it.
        target: (B,), class numbers.
        alpha: weight of the target class against the rest.
        beta: weight of the others among themselves; 8 for ResNet-32x4 to ResNet-8x4, 6 for VGG and WRN pairs,
            2 for ResNet-56 to ResNet-20.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over the batch, times the squared temperature.

    Raises:
        ModelError: shapes that do not fit each other, or fewer than two classes.
        ConfigError: the temperature is not above 0, or labels are not class numbers.

    Note:
        The authors' code takes the logarithm of a sum of probabilities, which underflows in float32 where
        logits differ by 100 times the temperature; here the same numbers come from log space.

    References:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
        >>> dkd_loss(logits, logits, torch.tensor([0])).item()
        0.0
    """
    target_part = tckd_loss(student_logits, teacher_logits, target, temperature)
    return alpha * target_part + beta * nckd_loss(student_logits, teacher_logits, target, temperature)


@full_precision
def tckd_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float = 4.0) -> Tensor:
    """Divergence of the student from the teacher in one question: the target class or any other?

    Args:
        student_logits: (B, K), before any softmax; at least two classes.
        teacher_logits: (B, K); no gradient flows to it.
        target: (B,), class numbers.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over the batch, times the squared temperature.

    Example:
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[100.0, 0.0]])
        >>> round(tckd_loss(even, sure, torch.tensor([0]), temperature=1.0).item(), 4)  # log 2
        0.6931
    """
    is_target = _find_target(student_logits, teacher_logits, target)
    check_temperature(temperature)

    def part(logits: Tensor) -> Tensor:
        scaled = logits / temperature
        others = scaled.masked_fill(is_target, float("-inf")).logsumexp(dim=1)
        return torch.stack((scaled.gather(1, target.unsqueeze(1)).squeeze(1), others), dim=1)

    return divergence(part(student_logits), part(teacher_logits.detach())).mean() * temperature**2


@full_precision
def nckd_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float = 4.0) -> Tensor:
    """Divergence of the student from the teacher among the classes that are not the target.

    Args:
        student_logits: (B, K), before any softmax; at least two classes, and more for anything but 0.
        teacher_logits: (B, K); no gradient flows to it.
        target: (B,), class numbers.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over the batch, times the squared temperature.

    Example:
        >>> even, sure = torch.zeros(1, 3), torch.tensor([[9.0, 100.0, 0.0]])
        >>> round(nckd_loss(even, sure, torch.tensor([0]), temperature=1.0).item(), 4)  # log 2
        0.6931
    """
    is_target = _find_target(student_logits, teacher_logits, target)
    check_temperature(temperature)
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    return divergence_of_kept(student, teacher, ~is_target).mean() * temperature**2


def _find_target(student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
    """Return (B, K) bool, True at the target class."""
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    if student_logits.shape[1] < 2:
        raise ModelError(f"a split into target and other classes needs two, got {tuple(student_logits.shape)}.")
    check_class_numbers(target, student_logits)
    return F.one_hot(target, student_logits.shape[1]).bool()
