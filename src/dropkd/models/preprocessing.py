"""From images of any size to what a network was trained on."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.models.spec import ModelSpec

__all__ = ["Preprocessing"]


class Preprocessing(nn.Module):
    """Crops, resizes and normalises on the device that the images are on, in their memory format.

    Args:
        spec: of the network that reads the result.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.image_size = spec.image_size
        self.interpolation = spec.interpolation
        self.crop_fraction = spec.crop_fraction
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def beside(cls, model: nn.Module, spec: ModelSpec) -> Self:
        """Return the preprocessing for a model, on its device and in its type."""
        weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        return cls(spec).to(device=weight.device, dtype=weight.dtype)

    def forward(self, images: Tensor, *, crop: bool) -> Tensor:
        """Return (B, 3, H, W) in the type of the network.

        Args:
            images: (B, 3, h, w), RGB, uint8 in 0..255 or floating point in 0..1.
            crop: show the centre part of the image only, as in evaluation.

        Raises:
            ModelError: the images have another layout or type.
        """
        # The mean carries the type that the network was cast to.
        return (self.show(images, crop=crop).to(self.mean.dtype) - self.mean) / self.std

    def show(self, images: Tensor, *, crop: bool) -> Tensor:
        """Return what the network is shown before it is normalised: (B, 3, H, W) in 0..1; see :meth:`forward`."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ModelError(f"Images must be of shape (B, 3, H, W), got {tuple(images.shape)}.")
        pixels = self._crop_centre(images) if crop else images
        return self._resize(self._to_unit_range(pixels))

    def _to_unit_range(self, images: Tensor) -> Tensor:
        """Return pixels in 0..1, of single precision at least: resizing in half loses grey levels."""
        dtype = torch.promote_types(self.mean.dtype, torch.float32)
        if images.dtype == torch.uint8:
            return images.to(dtype) / 255
        if not images.is_floating_point():
            raise ModelError(f"Images must be uint8 in 0..255 or floating point in 0..1, got {images.dtype}.")
        return images.to(dtype)

    def _crop_centre(self, images: Tensor) -> Tensor:
        if self.crop_fraction >= 1.0:
            return images
        height, width = images.shape[-2:]
        inner_height = max(1, round(height * self.crop_fraction))
        inner_width = max(1, round(width * self.crop_fraction))
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        return images[..., top : top + inner_height, left : left + inner_width]

    def _resize(self, pixels: Tensor) -> Tensor:
        if tuple(pixels.shape[-2:]) == self.image_size:
            return pixels
        if self.interpolation == "nearest":
            return F.interpolate(pixels, self.image_size, mode="nearest-exact")
        resized = F.interpolate(pixels, self.image_size, mode=self.interpolation, align_corners=False, antialias=True)
        # Bicubic overshoots at edges; images on disk, which the network was trained on, can't.
        return resized.clamp(0, 1) if self.interpolation == "bicubic" else resized
