"""Centred kernel alignment of each layer of one network with each layer of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dropkd.errors import ConfigError, ModelError
from dropkd.metrics.cka import LEAST_IMAGES, centre_without_diagonal

__all__ = ["CKAGrid"]

# Columns of the features that are turned into float64 at once: at 64 images 32 MB.
_COLUMNS = 65_536


class CKAGrid:
    """The alignments of all pairs of layers, estimated over many batches without keeping a feature.

    Each layer's kernel is made once a batch, so a grid costs little more than its layers; what is kept are three sums.
    An entry is what :class:`~dropkd.metrics.MinibatchCKA` gives for the pair.

    Args:
        first: how many layers the first network has.
        second: how many the second has.

    References:
        Nguyen, Raghu, Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021.

    Example:
        >>> grid = CKAGrid(1, 2)
        >>> for batch in torch.randn(3, 8, 5):
        ...     grid.update([batch], [2 * batch.flip(1), batch[:, :1] ** 2])
        >>> grid.compute()[0, 0].item() > 0.999
        True
    """

    def __init__(self, first: int, second: int) -> None:
        self._across = torch.zeros(first, second, dtype=torch.float64)
        self._first = torch.zeros(first, dtype=torch.float64)
        self._second = torch.zeros(second, dtype=torch.float64)
        self.batches = 0

    @torch.no_grad()
    def update(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Take in the features of one batch, (n, ...) for each layer.

        Raises:
            ModelError: another number of layers, or other numbers of images.
            ConfigError: fewer than four images.
        """
        if (len(first), len(second)) != self._across.shape:
            raise ModelError(f"expected {tuple(self._across.shape)} layers, got {(len(first), len(second))}.")
        counts = {len(features) for features in (*first, *second)}
        if len(counts) > 1:
            raise ModelError(f"all layers must have seen the same images, got {sorted(counts)} of them.")
        count = counts.pop()
        if count < LEAST_IMAGES:
            raise ConfigError(
                f"CKA needs at least {LEAST_IMAGES} images in a batch, got {count}. Raise the batch size."
            )
        scale = count * (count - 3)
        rows, columns = (torch.stack([_centre(features) for features in layers]) for layers in (first, second))
        self._across += (rows @ columns.T).cpu() / scale
        self._first += rows.square().sum(dim=1).cpu() / scale
        self._second += columns.square().sum(dim=1).cpu() / scale
        self.batches += 1

    def compute(self) -> Tensor:
        """Return the alignments so far, (first, second) float64; nan where a layer's features do not vary."""
        return self._across / (self._first.sqrt().unsqueeze(1) * self._second.sqrt().unsqueeze(0))


def _centre(features: Tensor) -> Tensor:
    """Return the centred kernel of a layer as a vector."""
    flat = features.flatten(1)
    kernel = torch.zeros(len(flat), len(flat), dtype=torch.float64, device=flat.device)
    for columns in torch.split(flat, _COLUMNS, dim=1):
        part = columns.double()
        kernel += part @ part.T
    return centre_without_diagonal(kernel).flatten()
