"""Mixup and CutMix of a batch, the same for teacher and student."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dropkd.contracts import NO_LABEL
from dropkd.engine.sending import send
from dropkd.functional.labels import find_labelled

__all__ = ["choose_labels", "mix_batch", "mix_images"]


def mix_batch(
    images: Tensor,
    target: Tensor,
    num_classes: int,
    *,
    mixup: float,
    cutmix: float,
    seed: int,
    epoch: int,
    step: int,
) -> tuple[Tensor, Tensor]:
    """Mix each image with the one that mirrors its place in the batch.

    Images with a label are mixed with each other, and so are those without.

    mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. CutMix: Yun et al., "CutMix:
    Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019. Where both are on, each
    batch gets one of them with equal chance. What is drawn is a pure function of (seed, epoch, step).

    Args:
        images: (B, 3, H, W), uint8 0..255 or float.
        target: (B,) int64, or (B, K) of 0 and 1 where images have several labels; -1 for an image without a label.
        num_classes: K.
        mixup: parameter of the Beta distribution of mixup; 0 turns it off.
        cutmix: the same of CutMix.
        seed: seed of the run.
        epoch: epoch, counted from 0.
        step: step within the epoch, counted from 0.

    Returns:
        The mixed images in float 0..1 where they were uint8 (else in their own range), and (B, K) shares of classes or
        labels, all -1 for an image without a label.
    """
    images, share = _mix(images, target, mixup, cutmix, seed, epoch, step)
    known, pairing = find_labelled(target), _pair_up(target)
    marks = (target if target.ndim == 2 else F.one_hot(target.clamp(min=0), num_classes)).to(images.dtype)
    shares = marks * share + marks[pairing] * (1 - share)
    return images, torch.where(known[:, None], shares, NO_LABEL)


def mix_images(
    images: Tensor, target: Tensor, *, mixup: float, cutmix: float, seed: int, epoch: int, step: int
) -> Tensor:
    """Return the very images that :func:`mix_batch` returns; as they are where both are off."""
    return _mix(images, target, mixup, cutmix, seed, epoch, step)[0] if mixup or cutmix else images


def _mix(
    images: Tensor, target: Tensor, mixup: float, cutmix: float, seed: int, epoch: int, step: int
) -> tuple[Tensor, float]:
    """Return the mixed images and each one's own share in itself."""
    generator = torch.Generator().manual_seed(((seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**63)
    use_cutmix = cutmix > 0 and (mixup <= 0 or torch.rand((), generator=generator).item() < 0.5)
    share = _draw_beta(cutmix if use_cutmix else mixup, generator)
    images = images.float().div(255) if images.dtype == torch.uint8 else images
    partner = images[send(_pair_up(target), images.device)]
    if use_cutmix:
        return _paste_box(images, partner, share, generator)
    return images * share + partner * (1 - share), share


def choose_labels(target: Tensor, soft_target: Tensor) -> Tensor:
    """Return the labels of mixed images for those that want no shares: of the image with the larger one.

    Args:
        target: (B,) int64 or (B, K) of 0 and 1, as :func:`mix_batch` was given it.
        soft_target: (B, K), as it returned it.
    """
    known = find_labelled(target)
    if target.ndim == 1:
        return torch.where(known, soft_target.argmax(1), NO_LABEL)
    return torch.where(known[:, None], (soft_target >= 0.5).to(target.dtype), NO_LABEL)


def _pair_up(target: Tensor) -> Tensor:
    """Return (B,) the partner of each row: its mirror image among the rows with a label, or among those without."""
    known = find_labelled(target)
    partner = torch.empty(len(target), dtype=torch.int64, device=target.device)
    for rows in (known.nonzero()[:, 0], (~known).nonzero()[:, 0]):
        partner[rows] = rows.flip(0)
    return partner


def _draw_beta(alpha: float, generator: torch.Generator) -> float:
    # torch.distributions takes no generator: Beta(a, a) by Johnk's method needs nothing but uniforms.
    while True:
        u, v = (torch.rand(2, generator=generator, dtype=torch.float64)).tolist()
        x, y = u ** (1 / alpha), v ** (1 / alpha)
        if 0 < x + y <= 1:
            return float(x / (x + y))


def _paste_box(images: Tensor, partner: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
    height, width = images.shape[-2:]
    cut = math.sqrt(1 - share)
    box_height, box_width = int(height * cut), int(width * cut)
    centre_y, centre_x = (torch.rand(2, generator=generator) * torch.tensor([height, width])).int().tolist()
    top, bottom = max(0, centre_y - box_height // 2), min(height, centre_y + (box_height + 1) // 2)
    left, right = max(0, centre_x - box_width // 2), min(width, centre_x + (box_width + 1) // 2)
    images = images.clone()
    images[..., top:bottom, left:right] = partner[..., top:bottom, left:right]
    return images, 1 - (bottom - top) * (right - left) / (height * width)
