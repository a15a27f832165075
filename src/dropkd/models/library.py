"""What dropkd wants to know of a library of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["Defaults", "Library", "nearest_interpolation"]


@dataclass(frozen=True)
class Defaults:
    """What a model was made, or trained, for.

    Args:
        image_size: height and width.
        num_classes: number of logits.
        mean: per channel, of RGB values in 0..1.
        std: per channel, of RGB values in 0..1.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        crop_fraction: the centre part, per side, that the published weights are evaluated on.
        pretrained: whether there are published weights.
        classes: names of their classes in the order of the logits, where known.
    """

    image_size: tuple[int, int]
    num_classes: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    pretrained: bool = False
    classes: tuple[str, ...] | None = None


class Library(Protocol):
    """A library whose models are built by name."""

    source: str

    def names(self) -> tuple[str, ...]:
        """Return the names of all models."""
        ...

    def has(self, name: str) -> bool:
        """Return whether the library has ``name``; raises ModelError for a wrong tag of a right name."""
        ...

    def defaults(self, name: str) -> Defaults:
        """Return what the model was made for."""
        ...

    def build(
        self,
        name: str,
        *,
        num_classes: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        pretrained: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model, and the options that built it (which may say more than those given).

        Raises:
            ModelError: an option is wrong, or the published weights can't be had.
        """
        ...


def nearest_interpolation(name: str) -> str:
    """Return the kind of resampling nearest to ``name`` of those that tensors can be resized with."""
    if name == "lanczos":
        return "bicubic"
    return name if name in ("bilinear", "bicubic", "nearest") else "bilinear"
