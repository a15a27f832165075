"""Distances and angles between the images of a batch (Park and others)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dropkd.functional.checks import check_batch, check_rows
from dropkd.functional.precision import full_precision

__all__ = ["rkd_angle_loss", "rkd_distance_loss"]

# Least squared distance of two images, as in the authors' code: equal rows count as 1e-6 apart.
_LEAST_SQUARE = 1e-12

# Numbers in the largest tensor that the angles make: 32 MB of float32, above which the allocator of Linux gives memory
# back at once. A batch of 64 is done in one go, one of 512, whose cosines alone are 134 million numbers, in parts.
_MOST_NUMBERS = 2**23


@full_precision
def rkd_distance_loss(student_embedding: Tensor, teacher_embedding: Tensor, squared: bool = False) -> Tensor:
    """Smooth L1 distance between the pairwise distances of two networks, each divided by its mean.

    Args:
        student_embedding: (B, D) or (B, ...), which is flattened; at least two images.
        teacher_embedding: (B, D'); no gradient flows to it.
        squared: compare squared distances.

    Returns:
        A scalar, averaged over all B x B pairs, those of an image with itself among them.

    Raises:
        ModelError: other numbers of rows.
        ConfigError: the batch is of one image.

    References:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019.

    Example:
        >>> near, far = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [9.0]])
        >>> rkd_distance_loss(near, far).item()  # two images are always one mean distance apart
        0.0
    """
    check_rows(student_embedding, teacher_embedding)
    check_batch(student_embedding, 2, "a distance between the images of a batch")
    student = _measure_distances(student_embedding.flatten(1), squared)
    teacher = _measure_distances(teacher_embedding.detach().flatten(1), squared)
    return F.smooth_l1_loss(student, teacher)


@full_precision
def rkd_angle_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Smooth L1 distance between the cosines of the angles that each three images make.

    Args:
        student_embedding: (B, D) or (B, ...), which is flattened.
        teacher_embedding: (B, D'); no gradient flows to it.

    Returns:
        A scalar, averaged over all B x B x B triples, degenerate ones among them: an image with itself makes the cosine
        0, an image seen twice from another the cosine 1. So one or two images give 0.

    Raises:
        ModelError: other numbers of rows.

    Note:
        The angles at a few images at a time are compared, and computed again for the gradient where there are more, so
        that memory grows with B x (B + D) and not with B x B x (B + D). The sum is the same.

    References:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019.

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> rkd_angle_loss(corner, 5 * corner + 1).item()
        0.0
    """
    check_rows(student_embedding, teacher_embedding)
    student, teacher = student_embedding.flatten(1), teacher_embedding.detach().flatten(1)
    images = len(student)
    step = max(1, _MOST_NUMBERS // (images * max(images, student.shape[1], teacher.shape[1])))
    if step >= images:
        return _add_gaps(student, teacher, 0, images) / images**3
    parts = [
        checkpoint(_add_gaps, student, teacher, first, step, use_reentrant=False, preserve_rng_state=False)
        for first in range(0, images, step)
    ]
    return torch.stack(parts).sum() / images**3


def _measure_distances(embedding: Tensor, squared: bool) -> Tensor:
    # Taking the mean away changes no distance, but saves the digits that the expansion of the square would
    # lose.
    centred = embedding - embedding.mean(dim=0)
    squares, products = centred.square().sum(dim=1), centred @ centred.T
    distances = (squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * products).clamp(min=_LEAST_SQUARE)
    if not squared:
        distances = distances.sqrt()
    itself = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    distances = distances.masked_fill(itself, 0.0)
    return distances / (distances.sum() / (distances.numel() - len(embedding)))


def _add_gaps(student: Tensor, teacher: Tensor, first: int, count: int) -> Tensor:
    """Return the sum of the distances between the cosines at some of the images."""
    corners = slice(first, first + count)
    ours, theirs = _measure_cosines(student, corners), _measure_cosines(teacher, corners)
    return F.smooth_l1_loss(ours, theirs, reduction="sum")


def _measure_cosines(embedding: Tensor, corners: slice) -> Tensor:
    """Return (corners, B, B), the cosine of the angle at each corner between each two images."""
    directions = F.normalize(embedding.unsqueeze(0) - embedding[corners].unsqueeze(1), dim=2)
    return directions @ directions.mT
