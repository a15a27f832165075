"""Multi-level logit distillation: instances, batch and classes (Jin, Wang and Lin)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dropkd.errors import ConfigError, did_you_mean
from dropkd.functional.checks import check_rank, check_same_shape, check_temperature
from dropkd.functional.divergence import divergence
from dropkd.functional.kd import kd_loss
from dropkd.functional.precision import full_precision
from dropkd.functional.standardization import standardize_logits

__all__ = ["MLDLevels", "batch_correlation_loss", "class_correlation_loss", "mld_levels", "mld_loss"]

MLDForm = Literal["code", "intended"]

_TEMPERATURES = (4.0, 3.0, 5.0, 2.0, 6.0)
# In the authors' code the temperatures from this place on compare the weak view where the strong one is
# meant.
_STRONG_TEMPERATURES = 3


class MLDLevels(NamedTuple):
    """The three levels of :func:`mld_loss`, each a scalar, before any weight.

    Args:
        instance: divergence of softened probabilities, summed over temperatures and both views.
        batch: distance of the similarities between images, summed over temperatures.
        classes: distance of the similarities between classes, summed over temperatures.
    """

    instance: Tensor
    batch: Tensor
    classes: Tensor


@full_precision
def mld_loss(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    temperatures: Sequence[float] = _TEMPERATURES,
    form: MLDForm = "code",
    standardize: bool = False,
) -> Tensor:
    """Sum of the three levels of :func:`mld_levels`, to be weighted by 0.9 beside cross-entropies of 0.1.

    Args:
        student_weak: (B, K), logits of the weakly augmented view.
        student_strong: (B, K), logits of the strongly augmented view.
        teacher_weak: (B, K); no gradient flows to it.
        teacher_strong: (B, K); no gradient flows to it.
        temperatures: five or any other number of them, each above 0.
        form: see :func:`mld_levels`.
        standardize: see :func:`mld_levels`.

    Returns:
        A scalar, averaged over the batch.

    References:
        Jin, Wang, Lin, "Multi-Level Logit Distillation", CVPR 2023.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        >>> mld_loss(logits, logits, logits, logits).item()
        0.0
    """
    return torch.stack(
        mld_levels(student_weak, student_strong, teacher_weak, teacher_strong, temperatures, form, standardize)
    ).sum()


@full_precision
def mld_levels(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    temperatures: Sequence[float] = _TEMPERATURES,
    form: MLDForm = "code",
    standardize: bool = False,
) -> MLDLevels:
    """Return the losses of the three levels.

    Args:
        student_weak: (B, K), logits of the weakly augmented view.
        student_strong: (B, K), logits of the strongly augmented view.
        teacher_weak: (B, K); no gradient flows to it.
        teacher_strong: (B, K); no gradient flows to it.
        temperatures: each above 0.
        form: ``code``: what the authors' code computes and the published numbers belong to. The level of the
            weak
            view is scaled by the *share* of images of at most median confidence, and from the fourth
            temperature on the strong view's part compares the weak view. ``intended``: those images alone
            count, each with its own loss, and the strong view is compared at all temperatures. Batch and
            class levels are the same in both.
        standardize: standardise the logits of the instance level; the first temperature is then 2.

    Raises:
        ModelError: the shapes differ.
        ConfigError: a temperature that is not above 0, or an unknown form.
    """
    views = (student_weak, student_strong, teacher_weak.detach(), teacher_strong.detach())
    for view in views:
        check_rank(view, 2, "logits")
        check_same_shape(view, teacher_weak, "logits")
    for temperature in temperatures:
        check_temperature(temperature)
    unsure_images, unsure_classes = _find_unsure(teacher_weak.detach())
    batch = _sum(batch_correlation_loss(student_weak, teacher_weak, t) for t in temperatures)
    classes = _sum(class_correlation_loss(student_weak, teacher_weak, t) for t in temperatures)
    compared = [standardize_logits(view) for view in views] if standardize else list(views)
    instance = _compare_instances(compared, temperatures, unsure_images, form)
    return MLDLevels(instance, unsure_images.mean() * batch, unsure_classes.mean() * classes)


@full_precision
def batch_correlation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Squared distance between the image-by-image products of softened probabilities.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar, summed over the B x B matrix and divided by B. There is no factor for the temperature.

    Example:
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[100.0, 0.0]])
        >>> batch_correlation_loss(even, sure, 1.0).item()  # (1 / 2 - 1) squared
        0.25
    """
    student, teacher = _soften(student_logits, teacher_logits, temperature)
    return (teacher @ teacher.T - student @ student.T).square().sum() / student.shape[0]


@full_precision
def class_correlation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Squared distance between the class-by-class products of softened probabilities.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar, summed over the K x K matrix and divided by K. There is no factor for the temperature.

    Example:
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[100.0, 0.0]])
        >>> class_correlation_loss(even, sure, 1.0).item()  # (9 / 16 + 3 / 16) / 2
        0.375
    """
    student, teacher = _soften(student_logits, teacher_logits, temperature)
    if student.shape[1] <= 2 * student.shape[0]:
        return (teacher.T @ teacher - student.T @ student).square().sum() / student.shape[1]
    # With many classes K x K products take most of a step. Of A = teacher - student and C = teacher + student, whose
    # A'C + C'A is twice that difference, the same sum follows from products of images with images; and since it goes
    # to 0 as A does, it is as exact.
    apart, both = teacher - student, teacher + student
    across = both @ apart.T
    products = (apart @ apart.T * (both @ both.T)).sum() + (across * across.T).sum()
    return products / (2 * student.shape[1])


def _soften(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    return torch.softmax(student, dim=1), torch.softmax(teacher, dim=1)


def _find_unsure(teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 for the images and for the classes that the teacher is at most medianly sure of, else 0."""
    shares = torch.softmax(teacher_logits, dim=1)
    confidence, mass = shares.amax(dim=1), shares.sum(dim=0)
    return tuple((values <= values.quantile(0.5)).to(values.dtype) for values in (confidence, mass))  # type: ignore[return-value]


def _compare_instances(views: Sequence[Tensor], temperatures: Sequence[float], unsure: Tensor, form: MLDForm) -> Tensor:
    student_weak, student_strong, teacher_weak, teacher_strong = views
    if form == "code":
        weak = [kd_loss(student_weak, teacher_weak, t) for t in temperatures]
        strong = [kd_loss(student_strong, teacher_strong, t) for t in temperatures[:_STRONG_TEMPERATURES]]
        return unsure.mean() * _sum(weak) + _sum(strong + weak[_STRONG_TEMPERATURES:])
    if form == "intended":
        rows = _sum(divergence(student_weak / t, teacher_weak / t) * t**2 for t in temperatures)
        return (unsure * rows).mean() + _sum(kd_loss(student_strong, teacher_strong, t) for t in temperatures)
    known = ("code", "intended")
    raise ConfigError(f"form must be one of {', '.join(known)}, got {form!r}.{did_you_mean(form, known)}")


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).sum(dim=0)
