"""Tells weights from other weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

__all__ = ["hash_weights"]


def hash_weights(model: nn.Module) -> str:
    """Return a SHA-256 over a model's parameters and buffers, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
