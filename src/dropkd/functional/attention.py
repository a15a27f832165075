"""Where a network looks: attention maps and their distance (Zagoruyko and Komodakis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ConfigError, did_you_mean
from dropkd.functional.checks import check_count, check_rank
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.precision import full_precision

__all__ = ["ATForm", "at_loss", "attention_map"]

ATForm = Literal["code", "paper"]


@full_precision
def attention_map(feature_map: Tensor, power: float = 2) -> Tensor:
    """Mean over channels of the features raised to a power, as a vector of length 1.

    Args:
        feature_map: (B, C, H, W). Negative values keep their sign under an odd power, as in the authors' code; under
            a power that is no whole number their absolute value counts.
        power: the higher, the more the strongest positions weigh. Below 1 the gradient at a feature of 0 is infinite.

    Returns:
        (B, H W); a map of zeros gives zeros.

    Raises:
        ModelError: not 4-dimensional.

    Example:
        >>> attention_map(torch.tensor([3.0, 4.0]).sqrt().reshape(1, 1, 1, 2))
        tensor([[0.6000, 0.8000]])
    """
    check_rank(feature_map, 4, "feature maps")
    base = feature_map if float(power).is_integer() else feature_map.abs()
    # Half as long backwards as a power and a mean, which write more maps of the full size.
    powers = base * base if power == 2 else base.pow(power)
    return F.normalize((powers.sum(dim=1) / base.shape[1]).flatten(1), dim=1)


@full_precision
def at_loss(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], power: float = 2, form: ATForm = "code"
) -> Tensor:
    """Distance between the attention maps of two networks, summed over stages.

    Args:
        student_maps: one (B, C, H, W) for each stage.
        teacher_maps: as many, of any channels; no gradient flows to them. The larger grid of each pair is
            average-pooled to the smaller height and width.
        power: of the features; see :func:`attention_map`.
        form: ``code``: squared differences as in the authors' code, which they weigh by 1000. ``paper``: the length of
            the difference of two images' attention maps, and absolute values under every power.

    Returns:
        A scalar, averaged over the batch, and over positions in the form ``code``; summed over stages.

    Raises:
        ModelError: maps of another number, batch or proportion.
        ConfigError: an unknown form.

    References:
        Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional
        Neural Networks via Attention Transfer", ICLR 2017, equation 2.

    Example:
        >>> left, right = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> at_loss([left.reshape(1, 1, 1, 2)], [right.reshape(1, 1, 1, 2)]).item()
        1.0
        >>> round(at_loss([left.reshape(1, 1, 1, 2)], [right.reshape(1, 1, 1, 2)], form="paper").item(), 4)
        1.4142
    """
    if form not in ("code", "paper"):
        raise ConfigError(f"form must be code or paper, got {form!r}.{did_you_mean(form, ('code', 'paper'))}")
    check_count(student_maps, teacher_maps)
    pairs = (pool_to_common_grid(s, t.detach()) for s, t in zip(student_maps, teacher_maps, strict=True))
    return torch.stack([_compare_attention(s, t, power, form) for s, t in pairs]).sum()


def _compare_attention(student_map: Tensor, teacher_map: Tensor, power: float, form: ATForm) -> Tensor:
    if form == "code":
        return (attention_map(student_map, power) - attention_map(teacher_map, power)).square().mean()
    difference = attention_map(student_map.abs(), power) - attention_map(teacher_map.abs(), power)
    lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return lengths.mean()
