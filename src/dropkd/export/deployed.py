"""The module that is exported: the student alone, with its preprocessing where that is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dropkd.models import ModelSpec

__all__ = ["DeployedModel", "describe_input"]


class DeployedModel(nn.Module):
    """Gives logits, and nothing else.

    Args:
        model: the student.
        spec: its size and normalisation.
        takes_pixels: it is fed RGB bytes in 0..255 and normalises them itself; else normalised numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec, *, takes_pixels: bool) -> None:
        super().__init__()
        self.model = model
        self.takes_pixels = takes_pixels
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return what the model is fed for RGB bytes (B, 3, H, W)."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, K) logits of images (B, 3, H, W)."""
        logits: Tensor = self.model(self.normalize(images) if self.takes_pixels else images)
        return logits


def describe_input(spec: ModelSpec, frame: tuple[int, int], *, takes_pixels: bool) -> dict[str, Any]:
    """Return in plain values how an image comes to the exported model, step by step.

    Args:
        spec: of the student.
        frame: height and width that an image is fitted into before its centre is cut out.
        takes_pixels: see :class:`DeployedModel`.
    """
    return {
        "channels": "RGB",
        "layout": "NCHW",
        "dtype": "uint8" if takes_pixels else "float32",
        "frame": list(frame),
        "crop": list(spec.image_size),
        "resize": "largest centred part of the frame's shape, bilinear, antialiased",
        "scale": "none, 0..255" if takes_pixels else "divide by 255, subtract mean, divide by std",
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
