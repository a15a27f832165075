"""Distillation of softened class probabilities: of one class among several, or of each class by itself."""

from __future__ import annotations

from torch import Tensor

from dropkd.functional.checks import check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import binary_divergence, divergence
from dropkd.functional.precision import full_precision

__all__ = ["kd_loss", "kd_sigmoid_loss"]


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


@full_precision
def kd_sigmoid_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence of each class's softened sigmoid, for images with several labels or none.

    Each class is a question of its own, answered by yes or no: with ``p = sigmoid(z / temperature)`` the two
    distributions of class k are ``(p_k, 1 - p_k)``.

    Args:
        student_logits: (B, K), before any sigmoid.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, at least 0: averaged over classes and over the batch, times the squared temperature.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0.

    Note:
        The paper adds up the classes and has no temperature; here it is their mean, so that the term stands to binary
        cross-entropy, which is a mean over classes too, as :func:`kd_loss` stands to cross-entropy, however many
        classes there are. The paper's sum is K times this at temperature 1.

    References:
        Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang, "Multi-Label Knowledge Distillation", ICCV 2023, section 3.2
        (multi-label logits distillation: one-versus-all).

    Example:
        >>> import torch
        >>> even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[100.0, 0.0]])
        >>> round(kd_sigmoid_loss(even, sure, temperature=1.0).item(), 4)  # log 2 of one class, 0 of the other
        0.3466
    """
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    cells = binary_divergence(student_logits / temperature, teacher_logits.detach() / temperature)
    return cells.mean() * temperature**2
