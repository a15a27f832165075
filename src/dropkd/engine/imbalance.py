"""Training images that are many of one class and few of another: how uneven they are, and weights against it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.data import Split

__all__ = ["IMBALANCED_FROM", "class_weights", "is_imbalanced", "measure_imbalance"]

# Above this, accuracy is mostly that of the large classes: with two classes of 3:1 the larger one alone has 75 %.
IMBALANCED_FROM = 3.0


def measure_imbalance(counts: NDArray[np.int64]) -> float:
    """Return how many times larger the largest class is than the smallest; classes without images do not count.

    Example:
        >>> measure_imbalance(np.array([60, 20, 0]))
        3.0
    """
    present = counts[counts > 0]
    return float(present.max() / present.min()) if len(present) else 1.0


def is_imbalanced(split: Split) -> bool:
    """Whether the mean recall of the classes (UAR) says more than accuracy; never where images have several labels."""
    return not split.multi_label and measure_imbalance(split.class_counts) > IMBALANCED_FROM


def class_weights(counts: NDArray[np.int64], kind: str, beta: float = 0.999) -> Tensor | None:
    """Return a weight for each class, whose mean over the training images is 1; None for ``none``.

    Args:
        counts: (K,) training images of each class.
        kind: ``none``; ``balanced``: in inverse proportion to the counts; ``effective``: to the effective number of
            images, ``(1 - beta**n) / (1 - beta)``.
        beta: in [0, 1); 0 gives equal weights, and the nearer to 1, the nearer to ``balanced``.

    Returns:
        (K,) float32. A class without training images has 1.

    Note:
        The publication lets the weights of the classes, not of the images, have the mean 1. By images, the loss keeps
        its size, and so the learning rate its meaning, however uneven the classes are.

    References:
        Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
        equation 4.

    Example:
        >>> class_weights(np.array([30, 10]), "balanced").tolist()
        [0.6666666865348816, 2.0]
    """
    if kind == "none":
        return None
    present = counts > 0
    # With beta 0 an image more adds nothing, and every class has the effective number 1.
    number = counts[present] if kind == "balanced" else (1 - beta ** counts[present].astype(np.float64)) / (1 - beta)
    inverse = 1 / number
    weights = np.ones(len(counts))
    weights[present] = inverse * counts.sum() / (inverse * counts[present]).sum()
    return torch.from_numpy(weights).float()
