"""What answers are worth where an image has several labels, or none: each class is a question of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import DataError, ModelError

__all__ = ["average_precision", "mean_average_precision", "mean_prevalence", "same_labels", "score_labels"]


def average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Average precision of each class: its images are ranked by their score, and the precision at each hit is averaged.

    Args:
        scores: (N, K), the higher the surer; logits or probabilities.
        target: (N, K) of 0 and 1.

    Returns:
        (K,) float64 in [0, 1]; nan where no image has the class. A random order has about the share of its images.

    Raises:
        ModelError: the shapes differ.

    Note:
        Without interpolation, as in scikit-learn; equal scores count as one rank.

    Example:
        >>> scores, target = torch.tensor([[0.9], [0.6], [0.3]]), torch.tensor([[1], [0], [1]])
        >>> round(average_precision(scores, target).item(), 4)  # (1/1 + 2/3) / 2
        0.8333
    """
    if scores.shape != target.shape or target.ndim != 2:
        raise ModelError(f"scores and target must be (N, K), got {tuple(scores.shape)} and {tuple(target.shape)}.")
    found = [_rank(scores[:, k], target[:, k]) for k in range(target.shape[1])]
    return torch.tensor(found, dtype=torch.float64)


def _rank(scores: Tensor, target: Tensor) -> float:
    if not (target > 0.5).any():
        return float("nan")
    # Loading torchmetrics takes seconds, which trainings with one class for each image need not wait for.
    from torchmetrics.functional.classification import binary_average_precision

    # Ranks in place of logits: their sigmoids would be equal, and so tied, from about 17 on in float32.
    ranks = torch.unique(scores, return_inverse=True)[1].double()
    return float(binary_average_precision(ranks / max(1.0, float(ranks.max())), (target > 0.5).long()))


def mean_average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Mean of :func:`average_precision` over the classes that an image has (mAP, macro).

    Args:
        scores: (N, K), the higher the surer; logits or probabilities.
        target: (N, K) of 0 and 1.

    Returns:
        A scalar in [0, 1], float64.

    Raises:
        DataError: no image has a label.
        ModelError: the shapes differ.
    """
    return _average(average_precision(scores, target))


def _average(by_class: Tensor) -> Tensor:
    if by_class.isnan().all():
        raise DataError("the mean average precision of images without labels is not defined.")
    return by_class.nanmean()


def mean_prevalence(target: Tensor) -> float:
    """Return the mean, over the classes that an image has, of the share of images that have it: mAP by chance.

    Example:
        >>> mean_prevalence(torch.tensor([[1, 0, 1], [1, 0, 0]]))
        0.75
    """
    shares = (target > 0.5).double().mean(dim=0)
    return float(shares[shares > 0].mean())


def same_labels(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) bool, for which images both name the same labels and no others.

    Args:
        first: (N, K) bool, the labels.
        second: (N, K) bool, the same.
    """
    return (first == second).all(dim=1)


def score_labels(logits: Tensor, target: Tensor) -> dict[str, Any]:
    """Return what answers are worth, as fractions.

    ``map`` is the mean average precision and ``class_ap`` that of each class (None where no image has it). The others
    are of the labels with a probability of 0.5 or more: ``micro_f1`` of all classes together, ``macro_f1`` the mean
    over the classes that an image has, ``exact_match`` the share of images with exactly the right labels. ``loss`` is
    the binary cross-entropy, a mean over classes and images.

    Args:
        logits: (N, K).
        target: (N, K) of 0 and 1.

    Raises:
        DataError: no image has a label.
        ModelError: the shapes differ.
    """
    by_class, present = average_precision(logits, target), target > 0.5
    named = logits >= 0
    hits, guessed, wanted = (named & present).sum(0), named.sum(0), present.sum(0)
    has_images = wanted > 0
    f1 = 2 * hits.double() / (guessed + wanted).clamp(min=1)
    return {
        "images": len(target),
        "map": float(_average(by_class)),
        "micro_f1": float(2 * hits.sum().double() / (guessed.sum() + wanted.sum())),
        "macro_f1": float(f1[has_images].mean()),
        "exact_match": float(same_labels(named, present).double().mean()),
        "loss": float(F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))),
        "class_ap": [None if value != value else value for value in by_class.tolist()],
    }
