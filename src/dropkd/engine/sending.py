"""Tensors sent to the device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["send"]


def send(values: Tensor, device: torch.device, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """Return a tensor on the device; where that is a GPU, it may still be on its way.

    Args:
        values: from a loader, pinned or not.
        device: where to.
        memory_format: the order of its numbers there.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        # From memory that can be swapped out, a copy waits for what the GPU has to do before it.
        values = values.pin_memory()
    return values.to(device, non_blocking=True, memory_format=memory_format)
