"""What is kept of a teacher's answer to an image, and how a number becomes a few bytes and comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ConfigError

__all__ = ["Encoding", "Part", "decode_part", "encode_part"]

Number = Literal["float32", "float16", "int8"]
_FLOATS = {"float32": torch.float32, "float16": torch.float16}
_LARGEST_HALF = 65504.0
_INT8_LEVELS = 127
# So that a channel of zeros does not divide by 0.
_SMALLEST_SCALE = 1e-30


@dataclass(frozen=True)
class Encoding:
    """How a part is kept.

    Args:
        number: ``float16``, ``float32``, or ``int8`` with a scale for each image and channel (maps alone).
        grid: (height, width) that a map is average-pooled to; None keeps its own.
        channels: number of principal components that a map's channels are reduced to; None keeps all.
        top: how many of the largest logits are kept, beside the sum of the others' probabilities; None keeps all.
    """

    number: Number = "float16"
    grid: tuple[int, int] | None = None
    channels: int | None = None
    top: int | None = None


@dataclass(frozen=True)
class Part:
    """One tensor of a teacher's answer.

    Args:
        name: ``logits``, ``embedding``, ``map0``, ``preactivation0`` and so on.
        shape: of one image.
        encoding: how it is kept.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding = Encoding()

    def __post_init__(self) -> None:
        spatial, encoding = len(self.shape) == 3, self.encoding
        if not spatial and (encoding.number == "int8" or encoding.grid or encoding.channels):
            raise ConfigError(f"{self.name} is no map: it can't be pooled, reduced or kept in int8.")
        if encoding.top is not None and self.name.rpartition(".")[2] != "logits":
            raise ConfigError(f"{self.name} has no largest logits to keep.")

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape that is kept of one image."""
        if self.encoding.top is not None:
            return (min(self.encoding.top, self.shape[0]),)
        if len(self.shape) != 3:
            return self.shape
        channels, height, width = self.shape
        grid = self.encoding.grid or (height, width)
        return (self.encoding.channels or channels, *grid)

    @property
    def columns(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """The shape of one image and the type of each column on disk."""
        shape, number = self.stored_shape, self.encoding.number
        columns: dict[str, tuple[tuple[int, ...], str]] = {self.name: (shape, number)}
        if number == "int8":
            columns[f"{self.name}.scale"] = ((shape[0],), "float32")
        if self.encoding.top is not None:
            columns[f"{self.name}.class"] = (shape, "int32")
            columns[f"{self.name}.rest"] = ((1,), "float32")
        return columns

    @property
    def bytes_per_image(self) -> int:
        """What one image takes on disk."""
        sizes = {"float32": 4, "float16": 2, "int8": 1, "int32": 4}
        return sum(math.prod(shape) * sizes[number] for shape, number in self.columns.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        encoding = {key: value for key, value in vars(self.encoding).items() if value is not None}
        if self.encoding.grid is not None:
            encoding["grid"] = list(self.encoding.grid)
        return {"name": self.name, "shape": list(self.shape), **encoding}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        """Return the part that :meth:`to_dict` described."""
        fields = {key: values[key] for key in ("number", "channels", "top") if key in values}
        grid = tuple(values["grid"]) if "grid" in values else None
        return cls(values["name"], tuple(values["shape"]), replace(Encoding(**fields), grid=grid))


def encode_part(part: Part, values: Tensor, basis: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the columns of a batch, on the CPU.

    Args:
        part: what it is and how it is kept.
        values: (B, ...), the teacher's.
        basis: ``NAME.mean`` (C,) and ``NAME.components`` (d, C) of the maps whose channels are reduced.

    Raises:
        ConfigError: a number is too large for float16.
    """
    values, encoding = values.detach(), part.encoding
    if encoding.top is not None:
        return _encode_top(part, values)
    if encoding.grid is not None:
        # In one memory order, so that pooling what was read rounds as pooling the teacher's own map does.
        values = values.to(torch.float32, memory_format=torch.channels_last)
        values = F.adaptive_avg_pool2d(values, encoding.grid)
    if encoding.channels is not None:
        mean, components = (basis[f"{part.name}.{kind}"].to(values.device) for kind in ("mean", "components"))
        values = torch.einsum("bchw,dc->bdhw", values.float() - mean.view(1, -1, 1, 1), components)
    if encoding.number == "int8":
        largest = values.float().flatten(2).abs().amax(2)
        scale = (largest / _INT8_LEVELS).clamp(min=_SMALLEST_SCALE)
        levels = (values.float() / scale[:, :, None, None]).round()
        return {part.name: levels.to(torch.int8).cpu(), f"{part.name}.scale": scale.cpu()}
    if encoding.number == "float16":
        _check_half(part, values)
    return {part.name: values.to(_FLOATS[encoding.number]).cpu()}


def decode_part(part: Part, columns: Mapping[str, Tensor], basis: Mapping[str, Tensor]) -> Tensor:
    """Return what :func:`encode_part` was given, as near as its encoding lets it, in float32.

    Maps come in the memory order of the student's, ``channels_last``: a loss over two orders takes twice as long.
    """
    values, encoding = columns[part.name], part.encoding
    memory_format = torch.channels_last if values.ndim == 4 else torch.preserve_format
    values = values.to(torch.float32, memory_format=memory_format)
    if encoding.top is not None:
        return _decode_top(part, columns)
    if encoding.number == "int8":
        values = values * columns[f"{part.name}.scale"][:, :, None, None]
    if encoding.channels is not None:
        mean, components = (basis[f"{part.name}.{kind}"].to(values.device) for kind in ("mean", "components"))
        values = torch.einsum("bdhw,dc->bchw", values, components) + mean.view(1, -1, 1, 1)
    return values


def _encode_top(part: Part, logits: Tensor) -> dict[str, Tensor]:
    count = part.stored_shape[0]
    shares = logits.float().log_softmax(1)
    values, classes = shares.topk(count, dim=1)
    rest = torch.full_like(shares[:, :1], -torch.inf)
    if count < part.shape[0]:
        others = shares.scatter(1, classes, -torch.inf)
        rest = others.logsumexp(1, keepdim=True)
    return {
        part.name: values.half().cpu(),
        f"{part.name}.class": classes.int().cpu(),
        f"{part.name}.rest": rest.cpu(),
    }


def _decode_top(part: Part, columns: Mapping[str, Tensor]) -> Tensor:
    values, classes = columns[part.name].float(), columns[f"{part.name}.class"].long()
    others = part.shape[0] - values.shape[1]
    # The classes that were not kept share what is left of the probability evenly.
    rest = columns[f"{part.name}.rest"] - math.log(max(1, others))
    logits = rest.expand(-1, part.shape[0]).clone()
    return logits.scatter(1, classes, values)


def _check_half(part: Part, values: Tensor) -> None:
    largest = float(values.abs().max()) if values.numel() else 0.0
    # Written so that a NaN fails.
    if not largest <= _LARGEST_HALF:
        raise ConfigError(
            f"The teacher's {part.name} holds {largest:.3g}, which float16 can't hold. Keep it in single precision, "
            "--set cache.number=float32, or train without a cache, --no-teacher-cache."
        )
