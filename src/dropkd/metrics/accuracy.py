"""Accuracies that plain accuracy hides."""

from __future__ import annotations

from torch import Tensor

from dropkd.errors import DataError, ModelError

__all__ = ["compound_accuracy", "unweighted_average_recall"]


def unweighted_average_recall(predictions: Tensor, target: Tensor) -> Tensor:
    """Mean over the classes of the share of their images that is found; also known as balanced accuracy.

    Args:
        predictions: (N,), class numbers.
        target: (N,), class numbers, of the whole split: a mean over batches is another number.

    Returns:
        A scalar in [0, 1], float64. Classes without images do not count.

    Raises:
        DataError: there are no images.
        ModelError: the shapes differ.

    Example:
        >>> import torch
        >>> unweighted_average_recall(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])).item()
        0.5
    """
    if predictions.shape != target.shape or target.ndim != 1:
        raise ModelError(
            f"predictions and target must be (N,), got {tuple(predictions.shape)} and {tuple(target.shape)}."
        )
    if not len(target):
        raise DataError("the unweighted average recall of no images is not defined.")
    counts = target.bincount().double()
    found = target[predictions == target].bincount(minlength=len(counts)).double()
    present = counts > 0
    return (found[present] / counts[present]).mean()


def compound_accuracy(scores: Tensor, label_pairs: Tensor) -> dict[str, float]:
    """How often the two best of the basic classes are those that a compound class is made of.

    Args:
        scores: (N, K), of the basic classes; logits or probabilities.
        label_pairs: (N, 2), the two basic classes of each image, in either order.

    Returns:
        Fractions in [0, 1]: ``acc_both``: the two best classes are the pair; ``acc_single``: the best is in
        the pair;
        ``acc_single_top2``: one of the two best is in the pair.

    Raises:
        DataError: there are no images.
        ModelError: shapes that do not fit each other, or fewer than two classes.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]])
        >>> compound_accuracy(scores, torch.tensor([[1, 0], [2, 1]]))
        {'acc_both': 0.5, 'acc_single': 0.5, 'acc_single_top2': 1.0}
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or label_pairs.shape != (len(scores), 2):
        raise ModelError(
            f"scores must be (N, K) of two classes or more and label_pairs (N, 2), "
            f"got {tuple(scores.shape)} and {tuple(label_pairs.shape)}."
        )
    if not len(scores):
        raise DataError("the compound accuracy of no images is not defined.")
    best = scores.topk(2, dim=1).indices
    hits = (best.unsqueeze(2) == label_pairs.unsqueeze(1)).any(dim=2)
    shares = {"acc_both": hits.all(dim=1), "acc_single": hits[:, 0], "acc_single_top2": hits.any(dim=1)}
    return {name: hit.double().mean().item() for name, hit in shares.items()}
