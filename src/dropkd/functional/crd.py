"""Contrast with many other images, kept in a memory (Tian, Krishnan and Isola)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.functional.checks import check_rank, check_temperature
from dropkd.functional.precision import full_precision

__all__ = ["crd_loss", "crd_scores", "update_memory"]

_EPSILON = 1e-7


@full_precision
def crd_scores(embedding: Tensor, memory: Tensor, index: Tensor, temperature: float = 0.07) -> Tensor:
    """Exponential of the similarity of each image to its own place in a memory and to others.

    Args:
        embedding: (B, D), of length 1; one network's.
        memory: (N, D), the other network's; no gradient flows to it. What the gradients need of it is copied, so it
            may change before they are computed.
        index: (B, K + 1), places in the memory: each image's own first, then those of the K it is told from.
        temperature: similarities are divided by it; above 0.

    Returns:
        (B, K + 1), above 0. Divide it by ``N`` times its mean over the first batch, kept fixed, before
        :func:`crd_loss`.

    Raises:
        ModelError: shapes that do not fit each other.
        ConfigError: the temperature is not above 0.

    Example:
        >>> memory = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> crd_scores(memory[:1], memory, torch.tensor([[0, 1]]), temperature=1.0)
        tensor([[2.7183, 1.0000]])
    """
    check_rank(embedding, 2, "embeddings")
    check_rank(memory, 2, "a memory")
    check_temperature(temperature)
    if embedding.shape[1] != memory.shape[1] or index.ndim != 2 or index.shape[0] != embedding.shape[0]:
        raise ModelError(
            f"an embedding (B, D), a memory (N, D) and an index (B, K + 1) do not fit each other: "
            f"{tuple(embedding.shape)}, {tuple(memory.shape)}, {tuple(index.shape)}."
        )
    memory = memory.detach()
    if _prefers_all(memory, index):
        similarities = (embedding @ memory.clone().T).gather(1, index)
    else:
        similarities = (memory[index] @ embedding.unsqueeze(2)).squeeze(2)
    return (similarities / temperature).exp()


def _prefers_all(memory: Tensor, index: Tensor) -> bool:
    """Whether similarities to all places are fewer numbers than the rows of the memory that are asked for."""
    return len(memory) < index.shape[1] * memory.shape[1]


@full_precision
def crd_loss(scores: Tensor, num_samples: int) -> Tensor:
    """Noise-contrastive loss of telling each image from the others.

    Args:
        scores: (B, K + 1), normalised (see :func:`crd_scores`), each image's own first.
        num_samples: images in the memory; noise has the probability 1 / ``num_samples`` each.

    Returns:
        A scalar in nats: summed over the K + 1 questions, averaged over the batch. A method adds both
        directions.

    References:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020.

    Example:
        >>> round(crd_loss(torch.tensor([[1.0, 1.0]]), 1).item(), 4)  # 2 log 2
        1.3863
    """
    check_rank(scores, 2, "scores")
    noise = (scores.shape[1] - 1) / num_samples
    own = scores[:, :1] / (scores[:, :1] + noise + _EPSILON)
    others = noise / (scores[:, 1:] + noise + _EPSILON)
    return -torch.cat((own, others), dim=1).log().sum() / scores.shape[0]


@torch.no_grad()
def update_memory(memory: Tensor, index: Tensor, embedding: Tensor, momentum: float = 0.5) -> Tensor:
    """Return a memory in which some places have moved towards new embeddings.

    Args:
        memory: (N, D), rows of length 1.
        index: (B,), the places, each at most once.
        embedding: (B, D), of length 1.
        momentum: share of the old row, in [0, 1].

    Returns:
        (N, D), a new tensor; the moved rows are of length 1 again.

    Example:
        >>> update_memory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
        tensor([[0.7071, 0.7071]])
    """
    moved = momentum * memory[index] + (1 - momentum) * embedding.to(memory.dtype)
    return memory.index_copy(0, index, F.normalize(moved, dim=1))
