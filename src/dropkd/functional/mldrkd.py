"""Distillation of how classes, and how images, relate in the logits (Yang and others)."""

from __future__ import annotations

from torch import Tensor

from dropkd.functional.checks import check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import divergence
from dropkd.functional.precision import full_precision

__all__ = ["class_relation_loss", "dfra_loss", "sample_relation_loss"]


@full_precision
def dfra_loss(student_logits: Tensor, teacher_logits: Tensor, alpha: float = 2.0, temperature: float = 1.0) -> Tensor:
    """Relations between the classes of an image and the images of a class, and the probabilities themselves.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        alpha: weight of the divergence of the probabilities beside the two relations; at least 0.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats: :func:`class_relation_loss` plus :func:`sample_relation_loss` plus ``alpha`` times the
        divergence of the softened probabilities, averaged over the batch. There is no factor for the temperature.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0.

    References:
        Yang, Ye, Lin, Li, Wen, Hao, Chen, "Multi-Level Decoupled Relational Distillation for Heterogeneous
        Architectures", 2025.

    Example:
        >>> import torch
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[0.0, 100.0]])
        >>> round(dfra_loss(even, sure).item(), 4)  # log 2 / 2 for the relations, 2 log 2 for the probabilities
        1.7329
    """
    student, teacher = _soften(student_logits, teacher_logits, temperature)
    num_classes = student.shape[1]
    between_classes = _compare_relations(student, teacher, num_classes)
    between_images = _compare_relations(student.T, teacher.T, num_classes)
    return between_classes + between_images + alpha * divergence(student, teacher).mean()


@full_precision
def class_relation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Divergence of the student's relations between the classes of an image from the teacher's.

    The relation of two classes is the product of their logits over the square root of the number of classes; those of
    one class to all go through a softmax.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over images and classes. It takes memory for B x K x K relations.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0.

    Note:
        Products of logits depend on their level: a constant added to a row changes this loss, though no probability.

    References:
        See :func:`dfra_loss`.

    Example:
        >>> import torch
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[0.0, 100.0]])
        >>> round(class_relation_loss(even, sure).item(), 4)  # log 2 for the second class, 0 for the first
        0.3466
    """
    student, teacher = _soften(student_logits, teacher_logits, temperature)
    return _compare_relations(student, teacher, student.shape[1])


@full_precision
def sample_relation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Divergence of the student's relations between the images of a batch, class by class, from the teacher's.

    The relation of two images is the product of their logits for a class over the square root of the number of
    classes; those of one image to all go through a softmax.

    Args:
        student_logits: (B, K), before any softmax; a batch of one image gives 0.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over images and classes.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0.

    References:
        See :func:`dfra_loss`.

    Example:
        >>> import torch
        >>> even, sure = torch.zeros(2, 1), torch.tensor([[0.0], [100.0]])
        >>> round(sample_relation_loss(even, sure).item(), 4)  # log 2 for the second image, 0 for the first
        0.3466
    """
    student, teacher = _soften(student_logits, teacher_logits, temperature)
    return _compare_relations(student.T, teacher.T, student.shape[1])


def _soften(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    return student_logits / temperature, teacher_logits.detach() / temperature


def _compare_relations(student: Tensor, teacher: Tensor, num_classes: int) -> Tensor:
    """Return the divergence between the products within each row, averaged over rows and columns.

    As in the authors' code it is the number of classes that scales the products, between images too.
    """
    ours, theirs = (rows.unsqueeze(2) * rows.unsqueeze(1) / num_classes**0.5 for rows in (student, teacher))
    return divergence(ours.flatten(0, 1), theirs.flatten(0, 1)).mean()
