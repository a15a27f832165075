"""Many images of one size moved by whole pixels and mirrored at once: in memory, or on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PackedRows", "Shifts", "shift_images", "shift_tensors"]


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Images of one size in one array.

    Args:
        array: (N, H, W, 3) uint8.
        rows: (B,) the row of each.
    """

    array: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self.array[row] for row in self.rows.tolist())


@dataclass(frozen=True, eq=False)
class Shifts:
    """How each image of a batch is moved, (B,) each.

    Args:
        down: by how many pixels, int64; up where below 0.
        right: likewise.
        mirror: whether it is mirrored left to right before that, bool.
    """

    down: NDArray[np.int64]
    right: NDArray[np.int64]
    mirror: NDArray[np.bool_]


def shift_images(out: NDArray[np.uint8], images: PackedRows, shifts: Shifts) -> None:
    """Write moved images into ``out``, (B, H, W, 3), which comes black and stays so where nothing comes to lie."""
    if images.array.strides[-1] != 1:
        images = PackedRows(np.ascontiguousarray(images.array[images.rows]), np.arange(len(images.rows)))
    height, width = images.array.shape[1:3]
    # Items of three bytes: numpy mirrors these in half the time that it takes for single bytes.
    source, target = (array.view("V3")[..., 0] for array in (images.array, out))
    columns = (images.rows, shifts.down, shifts.right, shifts.mirror)
    for place, row, down, right, mirror in zip(target, *(column.tolist() for column in columns), strict=True):
        image = source[row]
        if mirror:
            image = image[:, ::-1]
        if down or right:
            place[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
                max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
            ]
        else:
            place[:] = image


def shift_tensors(images: Tensor, plan: Tensor, grey: Tensor) -> Tensor:
    """Return moved images with a part of each painted over, as :func:`shift_images` and the erasing after it make them.

    Nothing here waits for a device.

    Args:
        images: (N, H, W, 3) uint8, all images.
        plan: (B, 8) int64: the row, how far down and right, whether mirrored, and the upper, left, lower and right
            edge of what is painted over; nothing where edges are equal.
        grey: (3,) uint8, the colour of that part.

    Returns:
        (B, H, W, 3) uint8.
    """
    count, height, width, _ = images.shape
    row, down, right, mirror, top, left, bottom, far = plan[:, :, None].unbind(1)
    y, x = (torch.arange(length, device=images.device)[None] for length in (height, width))
    from_y, from_x = y - down, x - right
    shown = ((from_y >= 0) & (from_y < height))[:, :, None] & ((from_x >= 0) & (from_x < width))[:, None]
    from_x = torch.where(mirror > 0, width - 1 - from_x, from_x).clamp(0, width - 1)
    place = ((row * height + from_y.clamp(0, height - 1)) * width)[:, :, None] + from_x[:, None]
    moved = images.view(count * height * width, 3).index_select(0, place.reshape(-1)).view(*place.shape, 3)
    moved = moved * shown[..., None]
    painted = ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < far))[:, None]
    return torch.where(painted[..., None], grey, moved)
