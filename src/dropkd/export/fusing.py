"""Blocks that are several branches in training and one convolution afterwards."""

from __future__ import annotations

import copy

import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from dropkd.errors import ModelError

__all__ = ["fuse_blocks"]

# Fusing reorders sums: in single precision the logits move by this share of the largest of them at most.
_TOLERANCE = 1e-3


def fuse_blocks(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the model with its re-parameterisable blocks (RepVGG, MobileOne, FastViT, RepViT, ...) fused.

    The model that is given stays as it is. One that has no such block comes back as a copy.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W), normalised, that both are tried on.

    Raises:
        ModelError: the fused model answers otherwise.

    Example:
        >>> import timm
        >>> model = timm.create_model("repvgg_a0", num_classes=3).eval()
        >>> fused = fuse_blocks(model, torch.rand(1, 3, 32, 32))
        >>> sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in model.parameters())
        True
    """
    fused: nn.Module = reparameterize_model(copy.deepcopy(model))
    with torch.no_grad():
        before, after = model(images), fused(images)
    scale = max(1.0, float(before.abs().max()))
    difference = float((before - after).abs().max())
    if not difference <= _TOLERANCE * scale:
        raise ModelError(
            f"{type(model).__name__}: its fused blocks answer otherwise than the network that was trained (logits "
            f"differ by up to {difference:.3g}). Export it unfused, --no-fuse."
        )
    return fused
