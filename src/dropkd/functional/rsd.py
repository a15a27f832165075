"""Distillation of what two unlike embeddings have in common (Zhang and others)."""

from __future__ import annotations

import torch
from torch import Tensor

from dropkd.functional.checks import check_batch, check_rank, check_same_shape
from dropkd.functional.precision import full_precision

__all__ = ["rsd_loss"]

# As in the authors' code, added to each deviation.
_EPSILON = 1e-5


@full_precision
def rsd_loss(student_embedding: Tensor, teacher_embedding: Tensor, kappa: float = 0.01) -> Tensor:
    """How far the correlations between the student's and the teacher's features are from the identity.

    Args:
        student_embedding: (B, D), projected to the teacher's width; at least two images.
        teacher_embedding: (B, D); no gradient flows to it.
        kappa: weight of the correlations between unlike features, which should be 0, beside those of like ones, which
            should be 1; at least 0.

    Returns:
        A scalar, at least 0: squared and summed over all D x D pairs of features, not averaged, so that it grows with
        the width; the authors weigh it by 0.1.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the batch is of one image.

    Note:
        This is the authors' code: deviations over the batch have B in the denominator and 1e-5 added to them. A feature
        that is the same for all images correlates with nothing.

    References:
        Zhang, Liu, Ran, Ma, "Cross-Architecture Distillation Made Simple with Redundancy Suppression", ICCV 2025.

    Example:
        >>> rising = torch.tensor([[-1.0], [1.0]])
        >>> round(rsd_loss(rising, -rising).item(), 3)  # (-1 - 1) ** 2
        4.0
        >>> two = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
        >>> round(rsd_loss(two, two, kappa=0.5).item(), 3)  # two pairs of unlike features that go together
        1.0
    """
    check_rank(student_embedding, 2, "embeddings")
    check_same_shape(student_embedding, teacher_embedding, "embeddings")
    check_batch(student_embedding, 2, "a correlation over the images of a batch")
    student, teacher = _standardize(student_embedding), _standardize(teacher_embedding.detach())
    correlation = teacher.T @ student / len(student)
    like = torch.eye(student.shape[1], dtype=torch.bool, device=student.device)
    gaps = (correlation - like.to(correlation.dtype)).square()
    return torch.where(like, gaps, kappa * gaps).sum()


def _standardize(embedding: Tensor) -> Tensor:
    """Return the features with mean 0 and deviation 1 over the batch."""
    return (embedding - embedding.mean(dim=0)) / (embedding.std(dim=0, correction=0) + _EPSILON)
