"""Which channels see alike: neuron selectivity transfer (Huang and Wang)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.functional.checks import check_count
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.precision import full_precision

__all__ = ["nst_loss"]


@full_precision
def nst_loss(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Squared maximum mean discrepancy between the channels of two networks.

    The kernel of two channels is the square of the product of their maps, each of length 1.

    Args:
        student_maps: one (B, C, H, W) for each stage.
        teacher_maps: as many, of any channels; no gradient flows to them. The larger grid of each pair is
            average-pooled to the smaller height and width.

    Returns:
        A scalar, at least 0 but for rounding, averaged over batch and pairs of channels, summed over stages;
        the authors weigh it by 50.

    Raises:
        ModelError: maps of another number, batch or proportion.

    References:
        Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017.

    Example:
        >>> left, right = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> nst_loss([left.reshape(1, 1, 1, 2)], [right.reshape(1, 1, 1, 2)]).item()  # 1 + 1 - 2 * 0
        2.0
    """
    check_count(student_maps, teacher_maps)
    pairs = (pool_to_common_grid(s, t.detach()) for s, t in zip(student_maps, teacher_maps, strict=True))
    return torch.stack([_compare_channels(s, t) for s, t in pairs]).sum()


def _compare_channels(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    student = F.normalize(student_map.flatten(2), dim=2)
    teacher = F.normalize(teacher_map.flatten(2), dim=2)
    channels, positions = max(student.shape[1], teacher.shape[1]), student.shape[2]
    if positions <= channels:
        # The mean of (a b)^2 over pairs of channels is the product of two position-by-position matrices.
        return (_multiply_positions(teacher) - _multiply_positions(student)).square().sum(dim=(1, 2)).mean()
    return _mean_kernel(teacher, teacher) + _mean_kernel(student, student) - 2 * _mean_kernel(student, teacher)


def _multiply_positions(channels: Tensor) -> Tensor:
    return channels.mT @ channels / channels.shape[1]


def _mean_kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.mT).square().mean()
