"""What a zero-shot teacher is made of, whichever library the pair of towers comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Towers"]


@dataclass(frozen=True)
class Towers:
    """An image tower, and what its texts and its images are like.

    Args:
        image: gives embeddings (B, D) for normalised images.
        embed: gives embeddings (N, D) of texts, of any length.
        scale: what the cosine of the two is multiplied by.
        bias: what is then added; None where nothing is.
        image_size: height and width that the image tower is fed.
        mean: per channel, of RGB values in 0..1.
        std: per channel, of RGB values in 0..1.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
    """

    image: nn.Module
    embed: Callable[[Sequence[str]], Tensor]
    scale: float
    bias: float | None
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
