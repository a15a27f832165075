"""How alike the images of a batch are: PKT, SP and CC."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.functional.checks import check_batch, check_rows, check_same_shape
from dropkd.functional.precision import full_precision

__all__ = ["cc_kernel_loss", "cc_loss", "pkt_loss", "sp_loss"]

# Added to lengths and probabilities, as in the authors' code of PKT.
_EPSILON = 1e-7


@full_precision
def pkt_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Divergence between the probabilities that images of a batch are neighbours, from cosine similarities.

    Args:
        student_embedding: (B, D) or (B, ...), which is flattened.
        teacher_embedding: (B, D'); no gradient flows to it.

    Returns:
        A scalar, averaged over all B x B pairs (not over rows); the benchmarks weigh it by 30000.

    Raises:
        ModelError: other numbers of rows.

    References:
        Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018.

    Example:
        >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(pkt_loss(images, images).item(), 6)
        0.0
    """
    check_rows(student_embedding, teacher_embedding)
    student = _share_similarity(student_embedding.flatten(1))
    teacher = _share_similarity(teacher_embedding.detach().flatten(1))
    return (teacher * ((teacher + _EPSILON) / (student + _EPSILON)).log()).mean()


@full_precision
def sp_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Squared distance between the similarities of the images of a batch, each row of length 1.

    Args:
        student_map: (B, C, H, W) or (B, ...), which is flattened.
        teacher_map: (B, ...) of any other size; no gradient flows to it.

    Returns:
        A scalar, averaged over all B x B pairs; the benchmarks weigh it by 3000.

    Raises:
        ModelError: other numbers of rows.

    References:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.

    Example:
        >>> apart, alike = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> round(sp_loss(apart, alike).item(), 4)  # ((1 - 0.7071) ** 2 + 0.7071 ** 2) / 2
        0.2929
    """
    check_rows(student_map, teacher_map)
    student, teacher = student_map.flatten(1), teacher_map.detach().flatten(1)
    student, teacher = F.normalize(student @ student.T, dim=1), F.normalize(teacher @ teacher.T, dim=1)
    return (student - teacher).square().mean()


@full_precision
def cc_loss(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """Correlation between the differences of one image and those of the next in the batch.

    Args:
        student_embedding: (B, D), projected; at least two images.
        teacher_embedding: (B, D), projected by a layer that learns too, so that gradients flow to it.

    Returns:
        A scalar, at least 0: summed over D, averaged over the B - 1 neighbours; the benchmarks weigh it by
        0.02.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the batch is of one image.

    Note:
        This is the form of the public benchmarks; that of the paper is :func:`cc_kernel_loss`.

    References:
        Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation",
        ICCV 2019.

    Example:
        >>> cc_loss(torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, 1)).item()  # (1 * 2 + 2 * 3) / 2
        4.0
    """
    check_same_shape(student_embedding, teacher_embedding, "embeddings")
    check_batch(student_embedding, 2, "a correlation between the images of a batch")
    gaps = (student_embedding - teacher_embedding).abs()
    return (gaps[:-1] * gaps[1:]).sum(dim=1).mean()


@full_precision
def cc_kernel_loss(student_embedding: Tensor, teacher_embedding: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Squared distance between the similarities of the images of a batch, by a Gaussian kernel's Taylor series.

    Args:
        student_embedding: (B, D), projected; at least two images.
        teacher_embedding: (B, D'), projected by a layer that learns too, so that gradients flow to it.
        gamma: of the kernel exp(-gamma d^2) between embeddings scaled to length 1; above 0.
        order: the highest power in the series.

    Returns:
        A scalar, averaged over all B x B pairs.

    Raises:
        ModelError: other numbers of rows.
        ConfigError: the batch is of one image.

    Note:
        A public re-implementation uses weight 100 with these defaults; another leaves the embeddings as long as they
        are and takes the norm without squaring it.

    References:
        Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation",
        ICCV 2019.

    Example:
        >>> apart, alike = torch.eye(2), torch.ones(2, 2)
        >>> round(cc_kernel_loss(apart, alike, gamma=0.5, order=1).item(), 4)  # half of exp(-1) squared
        0.0677
    """
    check_rows(student_embedding, teacher_embedding)
    check_batch(student_embedding, 2, "a correlation between the images of a batch")
    student, teacher = (_expand_kernel(e.flatten(1), gamma, order) for e in (student_embedding, teacher_embedding))
    return (student - teacher).square().mean()


def _expand_kernel(embedding: Tensor, gamma: float, order: int) -> Tensor:
    """Return (B, B), the Taylor series of exp(-gamma |f_i - f_j|^2) in the cosine of f_i and f_j."""
    directions = F.normalize(embedding, dim=1)
    cosines = directions @ directions.T
    powers = ((2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(order + 1))
    return math.exp(-2 * gamma) * torch.stack(list(powers)).sum(dim=0)


def _share_similarity(embedding: Tensor) -> Tensor:
    """Return (B, B), the similarity of each image to all, as shares that sum to 1 in each row."""
    lengths = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    directions = embedding / (lengths + _EPSILON)
    similarity = (directions @ directions.T + 1) / 2
    shares: Tensor = similarity / similarity.sum(dim=1, keepdim=True)
    return shares
