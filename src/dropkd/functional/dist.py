"""Distillation of correlations between and within classes (Huang and others)."""

from __future__ import annotations

import torch
from torch import Tensor

from dropkd.functional.checks import check_batch, check_rank, check_same_shape, check_temperature
from dropkd.functional.precision import full_precision

__all__ = ["dist_loss", "pearson_correlation"]

# As in the authors' code, added to the product of the norms.
_EPSILON = 1e-8


@full_precision
def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """How far the student's probabilities are from a linear image of the teacher's, by row and by column.

    Args:
        student_logits: (B, K), before any softmax; at least two images.
        teacher_logits: (B, K); no gradient flows to it.
        beta: weight of the correlation over the classes of an image.
        gamma: weight of the correlation over the images of a class.
        temperature: both logits are divided by it; above 0. The authors use 4 on CIFAR and 1 on ImageNet.

    Returns:
        A scalar: one minus the mean Pearson correlation, weighted and summed, times the squared temperature.
        Equal logits give not quite 0, since 1e-8 is added to the norms.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0, or the batch is of one image.

    References:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
        >>> round(dist_loss(logits, logits).item(), 4)
        0.0
    """
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    check_batch(student_logits, 2, "a correlation over the images of a batch")
    student = torch.softmax(student_logits / temperature, dim=1)
    teacher = torch.softmax(teacher_logits.detach() / temperature, dim=1)
    inter = 1 - pearson_correlation(student, teacher, dim=1).mean()
    intra = 1 - pearson_correlation(student, teacher, dim=0).mean()
    return temperature**2 * (beta * inter + gamma * intra)


@full_precision
def pearson_correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along one dimension, with 1e-8 added to the product of the norms.

    Args:
        first: any shape.
        second: the same shape.
        dim: the dimension that the correlation is taken over; it is gone from the result.

    Example:
        >>> round(pearson_correlation(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 3.0]), dim=0).item(), 4)
        -1.0
    """
    first = first - first.mean(dim=dim, keepdim=True)
    second = second - second.mean(dim=dim, keepdim=True)
    norms = torch.linalg.vector_norm(first, dim=dim) * torch.linalg.vector_norm(second, dim=dim)
    correlation: Tensor = (first * second).sum(dim=dim) / (norms + _EPSILON)
    return correlation
