"""Where a network looks: attention maps and their distance (Zagoruyko and Komodakis)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.functional.checks import check_count, check_rank
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.precision import full_precision

__all__ = ["at_loss", "attention_map"]


@full_precision
def attention_map(feature_map: Tensor, power: float = 2) -> Tensor:
    """Mean over channels of the features raised to a power, as a vector of length 1.

    Args:
        feature_map: (B, C, H, W). Where it has negative values the power must be a whole number.
        power: the higher, the more the strongest positions weigh.

    Returns:
        (B, H W); a map of zeros gives zeros.

    Raises:
        ModelError: not 4-dimensional.

    Example:
        >>> attention_map(torch.tensor([3.0, 4.0]).sqrt().reshape(1, 1, 1, 2))
        tensor([[0.6000, 0.8000]])
    """
    check_rank(feature_map, 4, "feature maps")
    return F.normalize(feature_map.pow(power).mean(dim=1).flatten(1), dim=1)


@full_precision
def at_loss(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], power: float = 2) -> Tensor:
    """Mean squared distance between the attention maps of two networks, summed over stages.

    Args:
        student_maps: one (B, C, H, W) for each stage.
        teacher_maps: as many, of any channels; no gradient flows to them. The larger grid of each pair is
            average-pooled to the smaller height and width.
        power: of the features; see :func:`attention_map`.

    Returns:
        A scalar, averaged over batch and positions, summed over stages; the authors weigh it by 1000.

    Raises:
        ModelError: maps of another number, batch or proportion.

    Note:
        This is the authors' code. The paper's equation 2 sums the lengths of the differences instead.

    References:
        Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional
        Neural Networks via Attention Transfer", ICLR 2017.

    Example:
        >>> left, right = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> at_loss([left.reshape(1, 1, 1, 2)], [right.reshape(1, 1, 1, 2)]).item()
        1.0
    """
    check_count(student_maps, teacher_maps)
    pairs = (pool_to_common_grid(s, t.detach()) for s, t in zip(student_maps, teacher_maps, strict=True))
    stages = [(attention_map(s, power) - attention_map(t, power)).square().mean() for s, t in pairs]
    return torch.stack(stages).sum()
