"""What a network is apart from its weights; enough to build it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dropkd.errors import ModelError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ModelSpec", "parse_image_size", "to_triple"]

# The channel statistics of ImageNet's training images in 0..1, what most published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelSpec:
    """The name, the size and the preprocessing of a network.

    Args:
        name: ``resnet18`` (timm's, or torchvision's where timm has none of that name),
            ``torchvision/resnet18``, ``cifar_resnet8``; ``custom`` for a module that the user built.
        num_classes: number of logits.
        image_size: height and width that the network is fed.
        mean: per channel, of RGB values in 0..1; subtracted.
        std: per channel, of RGB values in 0..1; divided by.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``.
        crop_fraction: the centre part, per side, that the network is shown in evaluation; in (0, 1].
        options: arguments of the library's constructor beside the number of classes.
        classes: names of the classes in the order of the logits, where known.
        multi_label: whether each logit answers a question of its own, so that an image may have several labels or none.

    Example:
        >>> spec = ModelSpec("resnet18", num_classes=7, image_size=(64, 64))
        >>> ModelSpec.from_dict(spec.to_dict()) == spec
        True
    """

    name: str
    num_classes: int
    image_size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    multi_label: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Return the specification that :meth:`to_dict` wrote; keys of later versions are passed over.

        Raises:
            ModelError: a key is missing.
        """
        known = {f.name for f in fields(cls)}
        kept = {
            key: _freeze_list(value) if key != "options" else value for key, value in values.items() if key in known
        }
        try:
            return cls(**kept)
        except TypeError as error:
            raise ModelError(f"The description of the network is incomplete: {values!r} ({error}).") from error


def _freeze_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def parse_image_size(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return (height, width) of a side or a pair; None stays None.

    Raises:
        ModelError: it is neither, or not positive.

    Example:
        >>> parse_image_size(32)
        (32, 32)
    """
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(side < 1 for side in sides):
        raise ModelError(f"image_size must be a side or (height, width) in pixels, got {image_size!r}.")
    return sides[0], sides[1]


def to_triple(values: Sequence[float]) -> tuple[float, float, float]:
    """Return one value for red, green and blue each.

    Raises:
        ModelError: there are more or fewer than three.
    """
    if len(values) != 3:
        raise ModelError(f"Mean and standard deviation need one value each for R, G and B, got {tuple(values)!r}.")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
