"""Distances between feature maps of one shape: FitNet, ReviewKD, VID and OFD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.functional.checks import check_count, check_rank, check_same_shape
from dropkd.functional.precision import full_precision

__all__ = ["hcl_loss", "hint_loss", "ofd_loss", "ofd_margin", "vid_loss", "vid_variance"]

_PYRAMID = (4, 2, 1)
# Least variance of VID, as in the authors' code.
_LEAST_VARIANCE = 1e-5
# Chance of a positive feature below which OFD takes the normal distribution's tail for -3 deviations.
_RARE = 0.001


@full_precision
def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two tensors of one shape.

    Args:
        student: any shape.
        teacher: the same shape; no gradient flows to it.

    Returns:
        A scalar, averaged over all elements; the benchmarks weigh it by 100.

    Raises:
        ModelError: the shapes differ.

    References:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Example:
        >>> hint_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])).item()
        2.0
    """
    check_same_shape(student, teacher, "features")
    return F.mse_loss(student, teacher.detach())


@full_precision
def hcl_loss(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of maps and of their 4 x 4, 2 x 2 and 1 x 1 pyramids, summed over stages.

    Args:
        student_maps: one (B, C, H, W) for each stage.
        teacher_maps: as many, of the same shapes; no gradient flows to them.

    Returns:
        A scalar: for each stage the weighted mean with weights 1 for the map itself and 1/2, 1/4, 1/8 for the
        levels that are smaller than it.

    Raises:
        ModelError: other numbers of maps, or other shapes.

    References:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021.

    Example:
        >>> zero, one = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
        >>> round(hcl_loss([zero], [one]).item(), 4)
        1.0
    """
    check_count(student_maps, teacher_maps)
    stages = [_compare_pyramids(s, t.detach()) for s, t in zip(student_maps, teacher_maps, strict=True)]
    return torch.stack(stages).sum()


def _compare_pyramids(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    check_rank(student_map, 4, "feature maps")
    check_same_shape(student_map, teacher_map, "feature maps")
    compared: Tensor = _Pyramid.apply(student_map, teacher_map)
    return compared


class _Pyramid(torch.autograd.Function):
    """The weighted mean of the squared differences of two maps at all levels, with gradients to the first alone.

    The mean of a difference is the difference of the means, so one map is pooled and not two, and backwards the
    gradients of all levels meet where they are small: a map is written once, where autograd writes one for each level.
    """

    @staticmethod
    def forward(ctx: Any, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        """Return a scalar for two maps (B, C, H, W)."""
        height, width = student_map.shape[2:]
        levels, sources, finest = [student_map - teacher_map], [0], 0
        for side in _PYRAMID:
            if side < min(height, width):
                levels.append(F.adaptive_avg_pool2d(levels[finest], side))
                sources.append(finest)
                if height % side == width % side == 0:
                    # Means of equal shares: the next level is the same from here as from the whole map.
                    finest = len(levels) - 1
        weights = [0.5**number for number in range(len(levels))]
        ctx.save_for_backward(*levels)
        ctx.sources, ctx.weights = sources, [weight / sum(weights) for weight in weights]
        means = [w * level.square().mean() for w, level in zip(ctx.weights, levels, strict=True)]
        return torch.stack(means).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the student's map."""
        levels: tuple[Tensor, ...] = ctx.saved_tensors
        gradients = [level * (gradient * (2 * w / level.numel())) for w, level in zip(ctx.weights, levels, strict=True)]
        for number in range(len(levels) - 1, 0, -1):
            source = ctx.sources[number]
            gradients[source] += _spread(gradients[number], levels[source])
        return gradients[0], None


def _spread(gradient: Tensor, source: Tensor) -> Tensor:
    """Return the gradient of a map that was pooled, from that of its means."""
    cells = [whole // part for whole, part in zip(source.shape[2:], gradient.shape[2:], strict=True)]
    if [part * cell for part, cell in zip(gradient.shape[2:], cells, strict=True)] == list(source.shape[2:]):
        return F.interpolate(gradient / math.prod(cells), source.shape[2:])
    spread: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(gradient, source)
    return spread


@full_precision
def vid_loss(mean: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """Negative log-likelihood of the teacher's map under a normal distribution that the student predicts.

    Args:
        mean: (B, C, H, W), predicted from the student's map.
        target: (B, C, H, W), the teacher's map; no gradient flows to it.
        variance: (C,), above 0; see :func:`vid_variance`.

    Returns:
        A scalar in nats without the constant, averaged over all elements.

    Raises:
        ModelError: shapes that do not fit each other.

    References:
        Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer",
        CVPR 2019.

    Example:
        >>> vid_loss(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0), torch.ones(1)).item()
        2.0
    """
    check_rank(mean, 4, "feature maps")
    check_same_shape(mean, target, "feature maps")
    if variance.numel() != mean.shape[1]:
        raise ModelError(f"{mean.shape[1]} channels need as many variances, got shape {tuple(variance.shape)}.")
    variance = variance.reshape(1, -1, 1, 1)
    return ((mean - target.detach()).square() / variance + variance.log()).mean() / 2


@full_precision
def vid_variance(log_scale: Tensor) -> Tensor:
    """Return a variance above 0 for any parameter: the logarithm of one plus its exponential, plus 1e-5.

    Example:
        >>> round(vid_variance(torch.tensor(5.0 - 1e-5).expm1().log()).item(), 4)  # where training starts
        5.0
    """
    return F.softplus(log_scale) + _LEAST_VARIANCE


@full_precision
def ofd_loss(student_map: Tensor, teacher_map: Tensor, margin: Tensor) -> Tensor:
    """Squared distance to the teacher's map before its ReLU, where that distance matters.

    Args:
        student_map: (B, C, H, W), projected to the teacher's channels.
        teacher_map: (B, C, H, W), before the ReLU; no gradient flows to it.
        margin: (C,), negative: lower values of the teacher count as this one; see :func:`ofd_margin`.

    Returns:
        A scalar, summed over C, H and W and averaged over the batch. A position counts where the raised
        teacher is positive or the student lies above it. The authors weigh it by 1/1000, and each stage by
        half of the next.

    Raises:
        ModelError: shapes that do not fit each other.

    References:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", ICCV 2019.

    Example:
        >>> teacher, margin = torch.tensor([-5.0, 2.0]).reshape(1, 1, 1, 2), torch.tensor([-1.0])
        >>> ofd_loss(torch.zeros(1, 1, 1, 2), teacher, margin).item()  # (0 + 1) ** 2 + (0 - 2) ** 2
        5.0
    """
    check_rank(student_map, 4, "feature maps")
    check_same_shape(student_map, teacher_map, "feature maps")
    if margin.numel() != student_map.shape[1]:
        raise ModelError(f"{student_map.shape[1]} channels need as many margins, got shape {tuple(margin.shape)}.")
    raised = torch.maximum(teacher_map.detach(), margin.detach().reshape(1, -1, 1, 1))
    counts = (student_map > raised) | (raised > 0)
    return ((student_map - raised).square() * counts).sum() / student_map.shape[0]


@full_precision
def ofd_margin(scale: Tensor, shift: Tensor) -> Tensor:
    """Expected value of a normally distributed feature, given that it is negative.

    Args:
        scale: (C,), weight of the teacher's batch norm before the ReLU, whose absolute value is the
            deviation.
        shift: (C,), its bias, which is the mean.

    Returns:
        (C,). Where less than one in a thousand is negative, -3 deviations, as in the authors' code.

    Example:
        >>> round(ofd_margin(torch.ones(1), torch.zeros(1)).item(), 4)  # -sqrt(2 / pi)
        -0.7979
    """
    deviation, mean = scale.detach().abs().double(), shift.detach().double()
    ratio = mean / deviation.clamp(min=torch.finfo(torch.float64).tiny)
    negative = torch.special.ndtr(-ratio)
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    expected = mean - deviation * density / negative.clamp(min=_RARE)
    return torch.where(negative > _RARE, expected, -3 * deviation).to(scale.dtype)
