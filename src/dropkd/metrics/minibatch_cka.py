"""Centred kernel alignment over many batches, as a metric of torchmetrics, which is loaded for it alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dropkd.metrics.cka import hsic1

__all__ = ["MinibatchCKA"]


class MinibatchCKA(Metric):
    """Centred kernel alignment of two networks' features, estimated over many batches.

    ``update(x, y)`` takes features (n, ...) and (n, ...) of the same images, ``compute()`` gives a scalar in
    float64: 1 for features that differ by a rotation and a scale, about 0 (also below) for independent ones,
    nan where one network's features do not vary.

    Note:
        The three criteria are averaged over batches and divided once. Batches of unequal sizes weigh alike.

    References:
        Nguyen, Raghu, Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021.

    Example:
        >>> cka = MinibatchCKA()
        >>> for batch in torch.randn(3, 8, 5):
        ...     cka.update(batch, 2 * batch.flip(1))
        >>> round(cka.compute().item(), 4)
        1.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    xy: Tensor
    xx: Tensor
    yy: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("xy", "xx", "yy"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, x: Tensor, y: Tensor) -> None:
        """Take in the features of one batch; see :func:`hsic1` for what is asked of them."""
        x, y = x.double(), y.double()
        self.xy += hsic1(x, y)
        self.xx += hsic1(x, x)
        self.yy += hsic1(y, y)

    def compute(self) -> Tensor:
        """Return the alignment over all batches so far."""
        return self.xy / (self.xx.sqrt() * self.yy.sqrt())
