"""Standardised logits (Sun and others)."""

from __future__ import annotations

from torch import Tensor

from dropkd.errors import ModelError
from dropkd.functional.checks import check_rank
from dropkd.functional.precision import full_precision

__all__ = ["standardize_logits"]

# As in the authors' code; a row of equal logits gives zeros.
_EPSILON = 1e-7


@full_precision
def standardize_logits(logits: Tensor) -> Tensor:
    """Give each row of logits mean 0 and standard deviation 1, so that their size is no longer distilled.

    Args:
        logits: (B, K), before any softmax; at least two classes.

    Returns:
        (B, K). The standard deviation has K - 1 in the denominator and 1e-7 added to it.

    Raises:
        ModelError: not (B, K), or fewer than two classes.

    References:
        Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithm 1.

    Example:
        >>> import torch
        >>> standardize_logits(torch.tensor([[1.0, 2.0, 3.0]])).round(decimals=4)
        tensor([[-1.,  0.,  1.]])
    """
    check_rank(logits, 2, "logits")
    if logits.shape[1] < 2:
        raise ModelError(f"a standard deviation over classes needs two of them, got {tuple(logits.shape)}.")
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + _EPSILON)
