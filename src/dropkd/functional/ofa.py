"""Distillation between unlike architectures, with more weight on the target class (Hao and others)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.functional.checks import check_class_numbers, check_rank, check_same_shape, check_temperature
from dropkd.functional.precision import full_precision

__all__ = ["ofa_loss"]


@full_precision
def ofa_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Cross-entropy with the teacher's probabilities, that of the target class raised.

    Args:
        student_logits: (B, K), before any softmax.
        teacher_logits: (B, K); no gradient flows to it.
        target: (B,), class numbers.
        gamma: exponent of the teacher's probabilities, to which 1 is added at the target; 1 or more.
        temperature: both logits are divided by it; above 0.

    Returns:
        A scalar in nats, averaged over the batch. There is no factor for the temperature.

    Raises:
        ModelError: the shapes differ.
        ConfigError: the temperature is not above 0, or labels are not class numbers.

    Note:
        This is the authors' code: ``(p + [c = y]) ** gamma - [c = y]`` times the negative logarithm of the
        student's probability. At gamma 1 it is the plain cross-entropy with the teacher's probabilities. The
        code takes the logarithm of a softmax, which underflows; here the same numbers come from log space.

    References:
        Hao, Guo, Han, Tang, Hu, Wang, Xu, "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
        Knowledge Distillation", NeurIPS 2023.

    Example:
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[100.0, 0.0]])
        >>> round(ofa_loss(even, sure, torch.tensor([0]), gamma=2.0).item(), 4)  # (2 ** 2 - 1) log 2
        2.0794
    """
    check_rank(student_logits, 2, "logits")
    check_same_shape(student_logits, teacher_logits, "logits")
    check_temperature(temperature)
    check_class_numbers(target, student_logits)
    logs = torch.log_softmax(student_logits / temperature, dim=1)
    shares = torch.softmax(teacher_logits.detach() / temperature, dim=1)
    is_target = F.one_hot(target, student_logits.shape[1]).to(shares.dtype)
    weights = (shares + is_target) ** gamma - is_target
    return -(weights * logs).sum(dim=1).mean()
