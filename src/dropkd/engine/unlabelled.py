"""Rows of a batch that have no label: what a method sees of them, and which methods can do without labels."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from dropkd.contracts import NO_LABEL, Batch, Outputs
from dropkd.errors import ConfigError
from dropkd.functional.labels import find_labelled
from dropkd.methods.method import Method
from dropkd.methods.registry import load_methods

__all__ = ["clear_shares", "give_classes", "require_teacher_terms"]


def clear_shares(batch: Batch) -> Batch:
    """Return the batch with ``NO_LABEL`` for the class shares of the rows without a label."""
    if batch.soft_target is None:
        return batch
    known = find_labelled(batch.target)[:, None]
    return replace(batch, soft_target=torch.where(known, batch.soft_target, NO_LABEL))


def give_classes(batch: Batch, teacher: Outputs | None, num_classes: int) -> Batch:
    """Return the batch in which each row without a label has the class that the teacher finds most probable.

    Where images have several labels, it has those that the teacher finds more probable than not. A teacher of other
    classes has none to give: the rows stay without.

    Args:
        batch: from :func:`clear_shares`.
        teacher: its answer to these rows, or None where it is not asked.
        num_classes: classes of the task.
    """
    if teacher is None or teacher.logits.shape[1] != num_classes:
        return batch
    target, soft, known = batch.target, batch.soft_target, find_labelled(batch.target)
    best = teacher.logits.argmax(1)
    if target.ndim == 1:
        filled = torch.where(known, target, best)
        shares = F.one_hot(best, num_classes)
    else:
        shares = teacher.logits > 0
        filled = torch.where(known[:, None], target, shares.to(target.dtype))
    if soft is not None:
        soft = torch.where(known[:, None], soft, shares.to(soft.dtype))
    return replace(batch, target=filled, soft_target=soft)


def require_teacher_terms(method: Method | type[Method]) -> None:
    """Make sure that a method learns something from images without a label.

    Raises:
        ConfigError: it has no teacher, or remembers each training sample with its class. The methods that can are
            named.
    """
    cls = method if isinstance(method, type) else type(method)
    if not method.teacher_reads:
        reason = f"{cls.__name__} learns from labels alone: without a teacher there is nothing to learn from"
    elif method.reads_index:
        reason = f"{cls.__name__} remembers each training sample with its class, so it can't use"
    else:
        return
    able = [name for name, other in load_methods()[0].items() if other.teacher_reads and not other.reads_index]
    raise ConfigError(f"{reason} unlabelled images. Methods that can: {', '.join(able)}.")
