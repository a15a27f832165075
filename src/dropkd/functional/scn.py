"""Self-cure: weights that tell sure images from unsure ones, and labels that change (Wang and others)."""

from __future__ import annotations

import torch
from torch import Tensor

from dropkd.errors import ConfigError
from dropkd.functional.checks import check_class_numbers, check_rank
from dropkd.functional.precision import full_precision

__all__ = ["find_relabels", "rank_regularization_loss"]


@full_precision
def rank_regularization_loss(attention_weights: Tensor, high_ratio: float = 0.7, margin: float = 0.15) -> Tensor:
    """Hinge that keeps the mean weight of the surer images above that of the others.

    Args:
        attention_weights: (B,) or (B, 1), in [0, 1].
        high_ratio: share of the images that counts as sure, in (0, 1).
        margin: by which the two means should differ; the authors use 0.07 with batches of 64, 0.15 with 1024.

    Returns:
        A scalar, at least 0.

    Raises:
        ConfigError: the batch is too small for two groups, or the share outside (0, 1).

    References:
        Wang, Peng, Yang, Lu, Qiao, "Suppressing Uncertainties for Large-Scale Facial Expression Recognition",
        CVPR 2020.

    Example:
        >>> round(rank_regularization_loss(torch.tensor([0.5, 0.5, 0.4]), high_ratio=0.7).item(), 4)
        0.05
    """
    weights = attention_weights.flatten()
    high_count = int(high_ratio * len(weights))
    if not 0 < high_count < len(weights):
        raise ConfigError(
            f"a batch of {len(weights)} images can't be parted by the share {high_ratio!r}, "
            "which leaves a group empty. "
            "Raise training.batch_size or choose another share in (0, 1)."
        )
    ordered = weights.sort(descending=True).values
    return (margin - (ordered[:high_count].mean() - ordered[high_count:].mean())).clamp(min=0)


@torch.no_grad()
def find_relabels(logits: Tensor, target: Tensor, margin: float = 0.2) -> Tensor:
    """Return labels in which a class that is far likelier than the label has taken its place.

    Args:
        logits: (B, K), before any softmax.
        target: (B,), class numbers.
        margin: by how much the probability of the likeliest class must exceed that of the label.

    Returns:
        (B,), class numbers.

    Raises:
        ConfigError: labels are not class numbers.

    Note:
        As in the authors' code any image can be relabelled; the paper relabels those of low weight only.

    Example:
        >>> find_relabels(torch.tensor([[0.0, 9.0], [0.0, 0.1]]), torch.tensor([0, 0]))
        tensor([1, 0])
    """
    check_rank(logits, 2, "logits")
    check_class_numbers(target, logits)
    shares = torch.softmax(logits.double(), dim=1)
    likeliest, label = shares.max(dim=1)
    given = shares.gather(1, target.unsqueeze(1)).squeeze(1)
    return torch.where(likeliest - given > margin, label, target)
