"""Views of packed images made where the network is, whose images never leave the device then."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.data.augment import Augmentation
from dropkd.data.colours import GREY
from dropkd.data.shifting import shift_tensors
from dropkd.data.split import Pack

__all__ = ["DeviceViews"]


class DeviceViews:
    """Makes the views of packed images on a device, the same ones that :class:`Augmentation` makes in memory.

    Args:
        pack: the images of a split.
        augmentation: what is done to them.
        device: where.
    """

    def __init__(self, pack: Pack, augmentation: Augmentation, device: torch.device) -> None:
        self.pack, self.augmentation, self.device = pack, augmentation, device

    @staticmethod
    def can_make(pack: Pack, augmentation: Augmentation) -> bool:
        """Whether nothing is done to images but to move, mirror and erase, which is exact anywhere."""
        return augmentation.moves(pack.array.shape[1:3]) and augmentation.only_moves

    @cached_property
    def _images(self) -> tuple[Tensor, Tensor]:
        """All images of the split, and the colour of what is erased."""
        array = np.ascontiguousarray(self.pack.array[self.pack.rows])
        return torch.from_numpy(array).to(self.device), torch.tensor(GREY, dtype=torch.uint8).to(self.device)

    def render(
        self, index: NDArray[np.int64], numbers: NDArray[np.int64], epoch: int, repeat: NDArray[np.int64]
    ) -> Tensor:
        """Return the views of a batch, (V, B, H, W, 3) uint8 on the device, without waiting for it.

        Args:
            index: the row of each image in the split.
            numbers: the number that its random numbers depend on.
            epoch: the epoch.
            repeat: how often each image was shown before in this epoch.
        """
        plans = self.augmentation.plan_moves(numbers, epoch, repeat)
        rows = np.broadcast_to(index[:, None], (*plans.shape[:2], 1))
        plan = torch.from_numpy(np.concatenate([rows, plans], axis=2))
        if self.device.type == "cuda":
            plan = plan.pin_memory()
        plan = plan.to(self.device, non_blocking=True)
        images, grey = self._images
        views = [shift_tensors(images, own, grey) for own in plan]
        mirrored = [view.mirrored for view in self.augmentation.views]
        return torch.stack([v.flip(2) if turned else v for v, turned in zip(views, mirrored, strict=True)])
