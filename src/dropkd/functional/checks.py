"""What the losses ask of their arguments, said in words when it isn't so."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dropkd.errors import ConfigError, ModelError

__all__ = [
    "check_batch",
    "check_class_numbers",
    "check_count",
    "check_rank",
    "check_rate",
    "check_rows",
    "check_same_shape",
    "check_temperature",
]


def check_same_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    """Raise ModelError unless both have one shape."""
    if student.shape != teacher.shape:
        raise ModelError(
            f"{what} of student and teacher must have one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}."
        )


def check_rank(tensor: Tensor, rank: int, what: str) -> None:
    """Raise ModelError unless the tensor has this many dimensions."""
    if tensor.ndim != rank:
        raise ModelError(f"{what} must have {rank} dimensions, got shape {tuple(tensor.shape)}.")


def check_count(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Raise ModelError unless both hold the same number of maps, and at least one."""
    if len(student) != len(teacher) or not student:
        raise ModelError(f"student and teacher must give as many maps, got {len(student)} and {len(teacher)}.")


def check_temperature(temperature: float) -> None:
    """Raise ConfigError unless the temperature is above 0."""
    if not temperature > 0:
        raise ConfigError(f"temperature must be greater than 0, got {temperature!r}.")


def check_rate(rate: float, name: str) -> None:
    """Raise ConfigError unless the dropout rate is in [0, 1)."""
    if not 0 <= rate < 1:
        raise ConfigError(f"{name} must be at least 0 and less than 1, got {rate!r}.")


def check_batch(tensor: Tensor, least: int, what: str) -> None:
    """Raise ConfigError unless the batch holds at least this many images."""
    if tensor.shape[0] < least:
        raise ConfigError(
            f"{what} needs at least {least} images in a batch, got {tensor.shape[0]}. Raise training.batch_size."
        )


def check_class_numbers(target: Tensor, logits: Tensor) -> None:
    """Raise ConfigError unless there is one class number for each row of logits."""
    if target.shape != logits.shape[:1] or target.is_floating_point():
        raise ConfigError(
            f"target must hold one class number for each of {logits.shape[0]} rows of logits, "
            f"got shape {tuple(target.shape)} of {target.dtype}."
        )


def check_rows(student: Tensor, teacher: Tensor) -> None:
    """Raise ModelError unless both are (B, ...) of one batch."""
    if min(student.ndim, teacher.ndim) < 2 or student.shape[0] != teacher.shape[0]:
        raise ModelError(
            f"embeddings must be (B, ...) of one batch, "
            f"got {tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher."
        )
