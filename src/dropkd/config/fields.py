"""The kinds of values that a configuration holds, and how they are read from YAML."""

from __future__ import annotations

from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dropkd.config.augmentations import AugmentationName, find_augmentation

__all__ = [
    "Augmentation",
    "CacheMode",
    "FilePath",
    "Fraction",
    "ImageSize",
    "NonNegative",
    "Patterns",
    "Precision",
    "Range",
    "Section",
    "ShareRange",
]


def _read_image_size(value: Any) -> Any:
    wanted = "must be a whole number of pixels, or [height, width]"
    sides = value if isinstance(value, list | tuple) else (value,)
    if value is None:
        return None
    if len(sides) not in (1, 2) or not all(type(side) is int for side in sides):
        raise ValueError(wanted)
    if not all(1 <= side <= 4096 for side in sides):
        raise ValueError(f"{wanted}, between 1 and 4096")
    return tuple(sides) if isinstance(value, list | tuple) else value


def _read_range(value: Any, most: float = inf) -> Any:
    """Read [low, high]."""
    if value is None:
        return None
    sound = isinstance(value, list | tuple) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    if not sound or not 0 < value[0] <= value[1] <= most or value[1] == inf:
        raise ValueError(f"must be [low, high] with 0 < low <= high{'' if most == inf else f' <= {most:g}'}")
    return tuple(float(end) for end in value)


def _read_augmentation(value: Any) -> Any:
    return (find_augmentation(value) or value) if isinstance(value, str) else value


def _read_switch(value: Any) -> Any:
    # YAML reads a bare on and off as true and false.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _read_precision(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _read_patterns(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ImageSize = Annotated[int | tuple[int, int] | None, BeforeValidator(_read_image_size)]
Augmentation = Annotated[AugmentationName, BeforeValidator(_read_augmentation)]
Range = Annotated[tuple[float, float] | None, BeforeValidator(_read_range)]
ShareRange = Annotated[tuple[float, float] | None, BeforeValidator(partial(_read_range, most=1))]
Precision = Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(_read_precision)]
# One pattern need not be a list.
Patterns = Annotated[list[str], BeforeValidator(_read_patterns)]
CacheMode = Annotated[Literal["auto", "on", "off"], BeforeValidator(_read_switch)]
# Paths come as text from YAML, which strict checking would refuse.
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """Refuses unknown keys, takes no text for a number, and holds no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
