"""The masks of DropKD: which elements of a tensor each of two networks keeps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dropkd.errors import ConfigError, did_you_mean
from dropkd.functional.checks import check_rate

__all__ = ["Masks", "Unit", "draw_masks", "drop"]

Masks = Literal["coupled", "independent"]
Unit = Literal["element", "channel", "position"]


def draw_masks(
    like: Tensor,
    rate_student: float,
    rate_teacher: float,
    masks: Masks = "coupled",
    unit: Unit = "element",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw what the student and what the teacher keep.

    Args:
        like: a tensor of the size to be masked, (B, K) or (B, C, H, W).
        rate_student: share that the student drops, in [0, 1).
        rate_teacher: share that the teacher drops, in [0, 1).
        masks: ``coupled``: one uniform draw serves both, each keeps what lies at or above its own rate, so
            equal rates give the same mask and unequal ones nested masks. ``independent``: a draw for each.
        unit: what is dropped as one: an ``element``, a ``channel`` of a map or a ``position`` of its grid.
            The rows of (B, K) know elements only.
        generator: source of the random numbers; by default that of the device.

    Returns:
        Two bool tensors that broadcast to ``like``, True where kept: the student's, the teacher's.

    Raises:
        ConfigError: a rate outside [0, 1), or an unknown choice.

    Example:
        >>> student, teacher = draw_masks(torch.zeros(2, 1000), 0.5, 0.75)
        >>> bool((teacher <= student).all())  # what the teacher keeps, the student keeps
        True
    """
    check_rate(rate_student, "rate_student")
    check_rate(rate_teacher, "rate_teacher")
    shape = _find_mask_shape(like, unit)

    def draw() -> Tensor:
        return torch.rand(shape, dtype=torch.float32, device=like.device, generator=generator)

    first = draw()
    if masks == "coupled":
        return first >= rate_student, first >= rate_teacher
    if masks == "independent":
        return first >= rate_student, draw() >= rate_teacher
    raise _unknown_choice("masks", masks, ("coupled", "independent"))


def drop(values: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Set to 0 what is not kept and divide the rest by ``1 - rate``, so that the expectation stays.

    Args:
        values: any shape.
        keep: bool, broadcast to ``values``.
        rate: the rate that the mask was drawn with; at 0 the values are returned as they are.
    """
    if rate == 0:
        return values
    # As numbers in the layout of the values: with booleans, or in another layout, the product takes ten times as long.
    return values * torch.empty_like(values).copy_(keep).div_(1 - rate)


def _find_mask_shape(like: Tensor, unit: str) -> tuple[int, ...]:
    shape = tuple(like.shape)
    if unit == "element" or (like.ndim == 2 and unit in ("channel", "position")):
        return shape
    if unit == "channel":
        return (*shape[:2], *(1,) * (like.ndim - 2))
    if unit == "position":
        return (shape[0], 1, *shape[2:])
    raise _unknown_choice("unit", unit, ("element", "channel", "position"))


def _unknown_choice(name: str, choice: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(f"{name} must be one of {', '.join(known)}, got {choice!r}.{did_you_mean(choice, known)}")
