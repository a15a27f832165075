"""What a method that remembers needs where several processes train together, each on images of its own.

Without an initialised process group, or in a group of one, everything is left as it is.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["average", "gather_rows", "share_first"]


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of all processes, those of the first process first, in every process alike.

    Args:
        tensors: (B, ...) each, without gradients; B may differ from process to process.
    """
    if not _has_company():
        return tensors
    rows = _collect(torch.tensor([len(tensors[0])], device=tensors[0].device))
    counts = torch.cat(rows).tolist()
    gathered = []
    for tensor in tensors:
        # All processes must send as much: the rows that fill up are cut off again.
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = zip(_collect(padded), counts, strict=True)
        gathered.append(torch.cat([part[:count] for part, count in parts]))
    return tuple(gathered)


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if not _has_company():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def share_first(*tensors: Tensor) -> None:
    """Overwrite tensors with those of the first process."""
    if _has_company():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def _collect(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return parts


def _has_company() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
