"""The two dropout losses of DropKD, and the parts that its method shares with them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ConfigError, did_you_mean
from dropkd.functional.checks import check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import binary_divergence, divergence_of_kept
from dropkd.functional.dropout import Masks, Unit, draw_masks, drop
from dropkd.functional.kd import kd_loss, kd_sigmoid_loss
from dropkd.functional.precision import full_precision

__all__ = [
    "LogitForm",
    "LogitMode",
    "Normalize",
    "code_distance",
    "feature_dropout_loss",
    "logit_dropout_loss",
    "normalize_code",
]

Normalize = Literal["unit", "layer", "none"]
LogitMode = Literal["zero", "remove"]
LogitForm = Literal["softmax", "sigmoid"]

# Below this length a vector counts as zero: its direction says nothing, and 1 / length would blow up the
# gradient.
_SHORTEST = 1e-6


def normalize_code(code: Tensor, normalize: Normalize = "unit") -> Tensor:
    """Scale the vector at each position of a map.

    Args:
        code: (B, C, H, W).
        normalize: ``unit``: vectors of length 1. ``layer``: the same after their mean over channels is taken
            away.
            ``none``: divided by the square root of C, so that squared distances are means over channels.

    Raises:
        ConfigError: an unknown choice.
    """
    if normalize == "unit":
        return F.normalize(code, dim=1, eps=_SHORTEST)
    if normalize == "layer":
        return F.normalize(code - code.mean(dim=1, keepdim=True), dim=1, eps=_SHORTEST)
    if normalize == "none":
        return code / math.sqrt(code.shape[1])
    known = ("unit", "layer", "none")
    raise ConfigError(
        f"normalize must be one of {', '.join(known)}, got {normalize!r}.{did_you_mean(normalize, known)}"
    )


@full_precision
def code_distance(code: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the vectors at each position, averaged over positions and batch.

    Args:
        code: (B, C, H, W).
        target: (B, C, H, W).
    """
    check_same_shape(code, target, "maps")
    # One pass over the map forwards and one backwards.
    return F.mse_loss(code, target, reduction="sum") * (code.shape[1] / code.numel())


@full_precision
def feature_dropout_loss(
    student_code: Tensor,
    teacher_code: Tensor,
    rate_student: float = 0.5,
    rate_teacher: float = 0.5,
    masks: Masks = "coupled",
    unit: Unit = "element",
    normalize: Normalize = "unit",
    stop_gradient: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Squared distance between two projected feature maps after dropout.

    Args:
        student_code: (B, C, H, W), the student's map in the projection space.
        teacher_code: (B, C, H, W), the teacher's.
        rate_student: share of the student's code that is dropped, in [0, 1).
        rate_teacher: the same of the teacher's.
        masks: one draw for both networks (``coupled``) or one for each (``independent``).
        unit: what is dropped as one: ``element``, ``channel`` or ``position``.
        normalize: how the codes are scaled before the comparison; see :func:`normalize_code`.
        stop_gradient: whether the teacher's code is a constant. Without it both encoders can agree on a
            constant.
        generator: source of the random numbers; by default that of the device.

    Returns:
        A scalar, averaged over positions and batch; in [0, 4] for ``unit`` and ``layer``.

    Raises:
        ModelError: the shapes differ.
        ConfigError: a rate outside [0, 1), or an unknown choice.

    Note:
        The paper states the dropout in the projection space and its rates; distance, normalisation and masks
        are decided here.

    References:
        Lee, Hong, Shin, Ku, Ko, "Dropout Connects Transformers and CNNs: Transfer General Knowledge for
        Knowledge Distillation", WACV 2025.

    Example:
        >>> code = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
        >>> feature_dropout_loss(code, -code, 0.0, 0.0).item()  # opposite unit vectors: 2 squared
        4.0
    """
    check_rank(student_code, 4, "maps")
    check_same_shape(student_code, teacher_code, "maps")
    keep_student, keep_teacher = draw_masks(student_code, rate_student, rate_teacher, masks, unit, generator)
    student = normalize_code(drop(student_code, keep_student, rate_student), normalize)
    teacher = normalize_code(drop(teacher_code, keep_teacher, rate_teacher), normalize)
    return code_distance(student, teacher.detach() if stop_gradient else teacher)


@full_precision
def logit_dropout_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    rate_student: float = 0.5,
    rate_teacher: float = 0.5,
    temperature: float = 4.0,
    masks: Masks = "coupled",
    mode: LogitMode = "zero",
    center: bool = True,
    generator: torch.Generator | None = None,
    form: LogitForm = "softmax",
) -> Tensor:
    """Distillation of softened class probabilities after dropout of logits.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        rate_student: share of the student's logits that is dropped, in [0, 1).
        rate_teacher: the same of the teacher's.
        temperature: both logits are divided by it; above 0.
        masks: one draw for both networks (``coupled``) or one for each (``independent``).
        mode: ``zero``: dropped logits become 0 and kept ones are divided by 1 - rate. ``remove``: a class
            that either network drops leaves both softmaxes, and kept logits stay as they are; a row without
            classes counts as 0.
        center: take each row's mean away first. A row of logits is free up to a constant, so that 0 means
            something only then. Without effect on ``remove``, and on ``sigmoid``, where 0 means undecided as it is.
        generator: source of the random numbers; by default that of the device.
        form: ``softmax``: one class among several. ``sigmoid``: each class by itself, for images with several labels.

    Returns:
        A scalar in nats, at least 0: summed over classes, averaged over the batch, times the squared
        temperature. With both rates 0 it is :func:`kd_loss`, in the form ``sigmoid`` :func:`kd_sigmoid_loss`, which
        is a mean over classes (those that a row keeps where the mode is ``remove``).

    Raises:
        ModelError: the shapes differ.
        ConfigError: a rate outside [0, 1), a temperature not above 0, or an unknown choice.

    References:
        Lee, Hong, Shin, Ku, Ko, "Dropout Connects Transformers and CNNs: Transfer General Knowledge for
        Knowledge Distillation", WACV 2025.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0, 5.0]])
        >>> logit_dropout_loss(logits, logits).item()  # coupled masks keep equal logits equal
        0.0
    """
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    keep_student, keep_teacher = draw_masks(student_logits, rate_student, rate_teacher, masks, generator=generator)
    _check_choice("mode", mode, ("zero", "remove"))
    _check_choice("form", form, ("softmax", "sigmoid"))
    teacher_logits = teacher_logits.detach()
    if mode == "remove":
        compare = divergence_of_kept if form == "softmax" else _binary_divergence_of_kept
        rows = compare(student_logits / temperature, teacher_logits / temperature, keep_student & keep_teacher)
        return rows.mean() * temperature**2
    if center and form == "softmax" and (rate_student or rate_teacher):
        student_logits = student_logits - student_logits.mean(dim=1, keepdim=True)
        teacher_logits = teacher_logits - teacher_logits.mean(dim=1, keepdim=True)
    student = drop(student_logits, keep_student, rate_student)
    teacher = drop(teacher_logits, keep_teacher, rate_teacher)
    compare_all = kd_loss if form == "softmax" else kd_sigmoid_loss
    return compare_all(student, teacher, temperature)


def _binary_divergence_of_kept(student_logits: Tensor, teacher_logits: Tensor, keep: Tensor) -> Tensor:
    """Return the mean over the kept classes of each row; 0 where a row keeps none."""
    kept = keep.to(student_logits.dtype)
    return (binary_divergence(student_logits, teacher_logits) * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def _check_choice(name: str, choice: str, known: tuple[str, ...]) -> None:
    if choice not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, got {choice!r}.{did_you_mean(choice, known)}")
