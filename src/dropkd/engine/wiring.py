"""What a distiller is put together from: networks in whatever form they are given, weights and warm-ups by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from dropkd.errors import ConfigError, ModelError, did_you_mean
from dropkd.methods.method import Method
from dropkd.methods.registry import method_class
from dropkd.models import Network, build_network, ensemble, open_teacher, wrap_callable, wrap_model
from dropkd.models.teachers.given import Teachers

__all__ = ["CROSS_ENTROPY", "as_student", "as_teacher", "check_reads", "resolve_warmups", "resolve_weights"]

# The term that belongs to the labels and not to a method.
CROSS_ENTROPY = "cross_entropy"


def check_reads(method: str | Method, teacher: Network | None) -> None:
    """Raise where the method reads of the teacher what it does not give, before the method is built for it."""
    if teacher is None or teacher.shapes.embedding or teacher.shapes.maps:
        return
    cls = method_class(method) if isinstance(method, str) else type(method)
    wanted = sorted(cls.teacher_reads - {"logits"})
    if wanted:
        raise ModelError(
            f"{cls.__name__} reads {', '.join(wanted)} of the teacher, but {teacher.spec.name!r} gives logits alone. "
            "Choose a method that reads nothing else (kd, dkd, dist, ...; `dropkd methods` says what each reads), or "
            "give the teacher as a model's name with its weights."
        )


def resolve_weights(method: Method | type[Method], given: Mapping[str, float]) -> dict[str, float]:
    """Return the weight of the cross-entropy and of every term, the defaults where none is given.

    Raises:
        ConfigError: a name that is no term of the method.
    """
    weights = {CROSS_ENTROPY: method.cross_entropy_weight, **method.terms}
    for name, weight in given.items():
        if name not in weights:
            raise ConfigError(
                f"unknown key 'method.weights.{name}'. Terms: {', '.join(weights)}.{did_you_mean(name, weights)}"
            )
        weights[name] = float(weight)
    return weights


def resolve_warmups(method: Method, given: float | Mapping[str, float] | None) -> dict[str, float]:
    """Return the epochs of warm-up of every term, the method's own where none are given.

    Raises:
        ConfigError: a name that is no term of the method.
    """
    if isinstance(given, (int, float)):
        return dict.fromkeys(method.terms, float(given))
    warmups = {name: method.warmup_of(name) for name in method.terms}
    for name, epochs in (given or {}).items():
        if name not in warmups:
            raise ConfigError(
                f"unknown key 'method.warmup_epochs.{name}'. Terms: {', '.join(warmups)}.{did_you_mean(name, warmups)}"
            )
        warmups[name] = float(epochs)
    return warmups


def as_student(student: str | nn.Module, num_classes: int | None, size: tuple[int, int] | None) -> Network:
    """Return the network that a student is given as.

    Raises:
        ConfigError: a name without the number of classes, or a module without the size of its images.
        ModelError: a name that no library has.
    """
    if isinstance(student, Network):
        return student
    if isinstance(student, str):
        if num_classes is None:
            raise ConfigError(f"The student is given by name ({student!r}): say num_classes as well.")
        return build_network(student, num_classes=num_classes, image_size=size)
    return _wrap_as_is(student, size)


def as_teacher(teacher: Teachers, student: Network) -> Network:
    """Return the network that a teacher, or a list of them, is given as.

    Raises:
        ModelError: nothing of that name, or weights that can't be had or don't fit.
    """
    if isinstance(teacher, Sequence) and not isinstance(teacher, str):
        return ensemble([as_teacher(member, student) for member in teacher], each=True)
    if isinstance(teacher, Network):
        return teacher
    if isinstance(teacher, (str, Path)):
        return open_teacher(
            teacher,
            num_classes=student.shapes.logits,
            image_size=student.spec.image_size,
            classes=student.spec.classes,
        )
    if isinstance(teacher, nn.Module) and not isinstance(teacher, torch.jit.ScriptModule):
        return _wrap_as_is(teacher, student.spec.image_size)
    return wrap_callable(teacher, image_size=student.spec.image_size)


def _wrap_as_is(model: nn.Module, size: tuple[int, int] | None) -> Network:
    if size is None:
        raise ConfigError(f"{type(model).__name__} is given as a module: say image_size, the size of its images.")
    return wrap_model(model, image_size=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
