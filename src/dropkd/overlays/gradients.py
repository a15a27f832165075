"""Maps from gradients: how much each position of a network's map speaks for a class, to first order."""

from __future__ import annotations

import torch
from torch import Tensor

from dropkd.models import Network
from dropkd.overlays.places import Place, ask_at

__all__ = ["gradient_maps"]


def gradient_maps(
    network: Network, images: Tensor, asked: Tensor, place: Place, *, averaged: bool
) -> tuple[Tensor, Tensor]:
    """Return where a network sees what speaks for a class, and its logits.

    Args:
        network: in evaluation mode; its parameters get no gradients.
        images: (B, 3, h, w), as the network takes them.
        asked: (B,) int64, the class that each image is asked about.
        place: where the map is read.
        averaged: weigh each channel by its gradient's mean over the positions (Grad-CAM); else by the gradient at each
            position itself (HiResCAM), whose positions add up to what the map adds to the logit where the layers after
            it are linear.

    Returns:
        (B, H, W), 0 or more: the sum over the channels of features times weight; what speaks against the class counts
        as 0. And the logits, (B, K).

    References:
        Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
        equations 1 and 2. Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
        convolutional neural networks", 2020.
    """
    features, answer = ask_at(network, images, place)
    chosen = answer.logits.gather(1, asked[:, None].to(answer.logits.device))
    # Rows of a batch do not touch each other in evaluation, so the sum gives each its own gradient.
    (slope,) = torch.autograd.grad(chosen.sum(), features)
    maps, weights = place.fold(features.detach()).float(), place.fold(slope).float()
    if averaged:
        weights = weights.mean((2, 3), keepdim=True)
    return (maps * weights).sum(1).clamp(min=0), answer.logits.detach()
