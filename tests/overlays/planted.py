"""Images in which one square alone decides the class, and a network that has learned to see it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.models import wrap_model
from dropkd.models.tapped import TappedNetwork

SIDE, SQUARE = 32, 8


@dataclass(frozen=True)
class Planted:
    """Noise with a red or a green square.

    Args:
        images: (N, 3, 32, 32).
        target: (N,) 0 for a red square, 1 for a green one.
        inside: (N, 32, 32) where the square is.
    """

    images: Tensor
    target: Tensor
    inside: Tensor


def plant(count: int, seed: int) -> Planted:
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIDE, SIDE, generator=random)
    target = torch.randint(0, 2, (count,), generator=random)
    inside = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for row in range(count):
        top, left = torch.randint(0, SIDE - SQUARE + 1, (2,), generator=random).tolist()
        inside[row, top : top + SQUARE, left : left + SQUARE] = True
        colour = torch.tensor([0.9, 0.2, 0.2] if target[row] == 0 else [0.2, 0.9, 0.2])
        images[row, :, top : top + SQUARE, left : left + SQUARE] = colour[:, None, None]
    return Planted(images, target, inside)


class Seer(nn.Module):
    """A small CNN with a map of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return logits


def train_seer(steps: int = 100) -> TappedNetwork:
    torch.manual_seed(0)
    network = wrap_model(Seer(), image_size=SIDE, map_modules=["body"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for step in range(steps):
        batch = plant(32, 1000 + step)
        loss = F.cross_entropy(network(batch.images).logits, batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def share_inside(maps: Tensor, inside: Tensor) -> float:
    """Return the mean share of the maps' sum that lies in the squares, a cell of 4 pixels around them allowed."""
    spread = F.interpolate(maps[:, None].float(), (SIDE, SIDE), mode="nearest")[:, 0]
    near = F.max_pool2d(inside[:, None].float(), 9, stride=1, padding=4)[:, 0]
    return float(((spread * near).sum((1, 2)) / spread.sum((1, 2)).clamp(min=1e-9)).mean())


def reset_weights(network: nn.Module) -> None:
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            module.reset_parameters()
