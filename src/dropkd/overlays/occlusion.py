"""Maps from covering parts of an image: nothing of the network is needed but its answers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.models import Network

__all__ = ["log_probability", "occlusion_maps"]

# Cells a side, and how many of them a patch covers: a quarter of the side, moved by an eighth.
_CELLS, _PATCH = 8, 2


@torch.no_grad()
def occlusion_maps(
    network: Network, images: Tensor, asked: Tensor, *, multi_label: bool = False
) -> tuple[Tensor, Tensor]:
    """Return how much less probable a class becomes where parts of an image are covered, and the logits.

    A square of a quarter of the side is moved over what the network is shown, in the mean colour of the image; a cell's
    value is the mean fall of the class's log-probability over the squares that cover it.

    Args:
        network: in evaluation mode.
        images: (B, 3, h, w), as the network takes them.
        asked: (B,) int64, the class that each image is asked about.
        multi_label: whether an image may have several labels, or none.

    Returns:
        (B, 8, 8), 0 or more; where covering makes the class more probable the value is 0. And the logits, (B, K).

    References:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
    """
    pixels = images / 255 if images.dtype == torch.uint8 else images
    mean = pixels.mean((2, 3), keepdim=True)
    logits = network.logits(pixels)
    whole = log_probability(logits, asked, multi_label)
    fall = torch.zeros(len(images), _CELLS, _CELLS, device=whole.device)
    times = torch.zeros(_CELLS, _CELLS, device=whole.device)
    for top in range(_CELLS - _PATCH + 1):
        for left in range(_CELLS - _PATCH + 1):
            cells = slice(top, top + _PATCH), slice(left, left + _PATCH)
            rows = _stretch(cells[0], pixels.shape[-2], network.spec.crop_fraction)
            columns = _stretch(cells[1], pixels.shape[-1], network.spec.crop_fraction)
            covered = pixels.clone()
            covered[..., rows, columns] = mean
            lost = whole - log_probability(network.logits(covered), asked, multi_label)
            fall[:, cells[0], cells[1]] += lost[:, None, None]
            times[cells] += 1
    return (fall / times).clamp(min=0), logits


def _stretch(cells: slice, side: int, crop_fraction: float) -> slice:
    """Return the pixels of some cells of the centre part that the network is shown."""
    inner = max(1, round(side * crop_fraction))
    first = (side - inner) // 2
    start, stop = first + inner * cells.start // _CELLS, first + -(-inner * cells.stop // _CELLS)
    return slice(start, stop)


def log_probability(logits: Tensor, asked: Tensor, multi_label: bool) -> Tensor:
    """Return the logarithm of the probability of each image's class, (B,)."""
    shares = F.logsigmoid(logits.float()) if multi_label else logits.float().log_softmax(1)
    return shares.gather(1, asked[:, None].to(shares.device))[:, 0]
