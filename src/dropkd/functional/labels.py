"""The loss of labels: of one class for each image, of several labels, and of images that have no label at all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import NO_LABEL

__all__ = ["find_labelled", "label_loss"]


def find_labelled(target: Tensor) -> Tensor:
    """Return (B,) bool, which rows have a label; the others hold ``NO_LABEL`` (-1), in every column.

    Example:
        >>> find_labelled(torch.tensor([2, -1])).tolist()
        [True, False]
        >>> find_labelled(torch.tensor([[0.0, 1.0], [-1.0, -1.0]])).tolist()
        [True, False]
    """
    return target != NO_LABEL if target.ndim == 1 else (target != NO_LABEL).any(1)


def label_loss(
    logits: Tensor,
    target: Tensor,
    *,
    multi_label: bool = False,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy between logits and labels, over the rows that have one; 0 where none has.

    Args:
        logits: (B, K), before any softmax or sigmoid.
        target: (B,) classes or (B, K) shares of classes; with ``multi_label`` (B, K) in 0..1, each class by itself. A
            row of -1 has no label.
        multi_label: take binary cross-entropy, averaged over the classes.
        label_smoothing: share of the label that says nothing: it is spread over all classes, or with ``multi_label``
            over there and not there, so that 1 becomes ``1 - label_smoothing / 2``.
        class_weights: (K,), the weight of each class; the mean over rows with a class is then one by these weights, as
            in ``torch.nn.functional.cross_entropy``. Not for ``multi_label``.

    Returns:
        A scalar in nats, averaged over the rows with a label. Its gradient at the logits of the others is exactly 0.

    Example:
        >>> round(label_loss(torch.tensor([[0.0, 0.0], [5.0, -5.0]]), torch.tensor([1, -1])).item(), 4)  # log 2
        0.6931
    """
    # By sums, since a mean over no rows would be 0 / 0; and without asking how many there are, which waits for a GPU.
    known = find_labelled(target)
    if target.ndim == 1:
        total = F.cross_entropy(
            logits, target, class_weights, ignore_index=NO_LABEL, reduction="sum", label_smoothing=label_smoothing
        )
        if class_weights is None:
            return total / known.sum().clamp(min=1)
        weight = (class_weights[target.clamp(min=0)] * known).sum()
        return total / torch.where(known.any(), weight, 1.0)
    if multi_label:
        smooth = target.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
        rows = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").mean(1)
    else:
        rows = F.cross_entropy(logits, target, class_weights, reduction="none", label_smoothing=label_smoothing)
    return torch.where(known, rows, 0.0).sum() / known.sum().clamp(min=1)
