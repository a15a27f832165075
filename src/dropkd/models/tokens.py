"""Tokens and the grid they came from."""

from __future__ import annotations

import math

from torch import Tensor

from dropkd.errors import ModelError

__all__ = ["find_grid", "fold_tokens", "spread_evenly"]

# Nets have a class token, a distillation token and up to 16 registers; more tokens than that are no prefix.
_MAX_PREFIX = 18


def fold_tokens(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the last H * W tokens of (B, N, D) as a map (B, D, H, W); the prefix before them is dropped."""
    height, width = grid
    spatial = tokens[:, tokens.shape[1] - height * width :]
    return spatial.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], height, width)


def find_grid(count: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest grid in ``count`` tokens, prefix included, with the proportions of the image.

    Raises:
        ModelError: no such grid leaves between 0 and 18 prefix tokens.

    Example:
        >>> find_grid(197, (224, 224))
        (14, 14)
        >>> find_grid(8 * 4 + 5, (128, 64))
        (8, 4)
    """
    height, width = image_size
    shorter, longer = min(height, width), max(height, width)
    for side in range(math.isqrt(count), 0, -1):
        other = round(side * longer / shorter)
        if 0 <= count - side * other <= _MAX_PREFIX:
            return (other, side) if height > width else (side, other)
    raise ModelError(f"{count} tokens can't be folded to a grid with the proportions of a {height}x{width} image.")


def spread_evenly(count: int, wanted: int = 4) -> tuple[int, ...]:
    """Return up to ``wanted`` of the numbers below ``count``, equally far apart, the last one among them.

    Example:
        >>> spread_evenly(12)
        (2, 5, 8, 11)
        >>> spread_evenly(2)
        (0, 1)
    """
    wanted = min(count, wanted)
    return tuple(count * (i + 1) // wanted - 1 for i in range(wanted))
