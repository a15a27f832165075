"""Clauses about what a method asks for, the labels that it gives and the student that it deploys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs
from dropkd.data.augment import VIEW_KINDS
from dropkd.methods.method import Method
from dropkd.testing.bench import EPOCHS, Bench

__all__ = ["check_labels", "check_wishes", "find_bad_wishes", "is_amount"]

# An answer's members are answers themselves, which only terms for each of them read.
_READABLE = tuple(name for name in Outputs._fields if name != "members")


def check_wishes(bench: Bench) -> Iterator[str]:
    """What it asks for once it is built."""
    method = bench.build()
    yield from find_bad_wishes(method)
    for name in method.terms:
        if not is_amount(method.warmup_of(name)):
            yield f"warmup_of({name!r}) must be a number of epochs of at least 0, got {method.warmup_of(name)!r}"


def find_bad_wishes(method: Method | type[Method]) -> Iterator[str]:
    """Yield what is wrong with what a class, or a method with options of its own, asks for."""
    for name in ("student_reads", "teacher_reads"):
        for unknown in sorted(set(getattr(method, name)) - set(_READABLE)):
            yield f"{name} holds {unknown!r}; a network answers with {', '.join(_READABLE)}"
    for unknown in sorted(set(method.views) - set(VIEW_KINDS)):
        yield f"views holds {unknown!r}; the views are {', '.join(VIEW_KINDS)}"
    if not 1 <= method.labelled_views <= len(method.views):
        yield (
            f"labelled_views must be from 1 to {len(method.views)}, the number of its views, "
            f"got {method.labelled_views!r}"
        )
    for name in ("cross_entropy_weight", "warmup_epochs"):
        if not is_amount(getattr(method, name)):
            yield f"{name} must be a number of at least 0, got {getattr(method, name)!r}"
    if not (isinstance(method.least_batch, int) and method.least_batch >= 1):
        yield f"least_batch must be a whole number of at least 1, got {method.least_batch!r}"


def is_amount(value: object) -> bool:
    """Return whether a value is a finite number of at least 0."""
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0


def check_labels(bench: Bench) -> Iterator[str]:
    """Its labels and what it deploys."""
    method = bench.build()
    for epoch in EPOCHS:
        bench.call(method, epoch=epoch)
        yield from _check_changes(bench, method, method.end_epoch(epoch), epoch)
    for soft in (False, True):
        yield from _check_targets(bench, method, bench.batch(method, soft=soft))
    if not isinstance(method.deploy(nn.Linear(2, 2)), nn.Module):
        yield "deploy must return a module: the student as it is used after training"


def _check_targets(bench: Bench, method: Method, batch: Batch) -> Iterator[str]:
    labels: object = method.targets(batch)
    rows, classes = len(batch.target), bench.pair.num_classes
    shape = tuple(labels.shape) if isinstance(labels, Tensor) else None
    if not isinstance(labels, Tensor) or shape not in ((rows,), (rows, classes)):
        yield f"targets must return (B,) or (B, K), here ({rows},) or ({rows}, {classes}), got {shape or labels!r}"
    elif labels.ndim == 1 and (labels.dtype != torch.int64 or not 0 <= labels.min() <= labels.max() < classes):
        span = f"{labels.min().item()} to {labels.max().item()} in {labels.dtype}"
        yield f"targets must return classes from 0 to {classes - 1} in int64, or shares (B, K), got {span}"
    elif labels.ndim == 2 and not (labels.is_floating_point() and labels.isfinite().all()):
        yield f"targets (B, K) must return finite shares of classes, got {labels.dtype}"


def _check_changes(bench: Bench, method: Method, changes: object, epoch: int) -> Iterator[str]:
    if not isinstance(changes, Sequence) or not all(isinstance(change, LabelChange) for change in changes):
        yield f"end_epoch must return a sequence of LabelChange, empty where no label changes, got {changes!r}"
        return
    samples, classes = len(bench.pair.targets if bench.pair.targets is not None else ()), bench.pair.num_classes
    for change in changes:
        fits = 0 <= change.index < samples and 0 <= change.before < classes and 0 <= change.after < classes
        if not fits or change.before == change.after:
            yield (
                f"end_epoch returns {change}, but there are {samples} samples and {classes} classes, and a change is "
                "from one class to another"
            )
            return
    yield from _compare_with_targets(method, changes, epoch)


def _compare_with_targets(method: Method, changes: Sequence[LabelChange], epoch: int) -> Iterator[str]:
    """Yield a change that the labels of the next epoch don't show."""
    index = torch.tensor([change.index for change in changes], dtype=torch.int64)
    before = torch.tensor([change.before for change in changes], dtype=torch.int64)
    labels = method.targets(Batch(before, index, epoch + 1)) if changes else before
    for change, label in zip(changes, labels.tolist(), strict=True):
        if label != change.after:
            yield f"end_epoch returns {change}, but targets still gives this sample the class {label}"
            return
