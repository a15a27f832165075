"""The modules of DPK: maps as patch tokens, the tokens of two networks mixed, and the mixture read as a map again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["HybridStage", "PatchDecoder", "PatchEncoder", "choose_patch", "draw_prior"]

# Attention compares every token with every other: 8 x 8 of them cost no more than the convolutions around them.
_TOKENS_A_SIDE = 8
_MLP_RATIO = 4
_POSITION_DEVIATION = 0.02


def choose_patch(grid: tuple[int, int]) -> int:
    """Return the smallest side of a patch that leaves at most 8 patches each way.

    Example:
        >>> [choose_patch(grid) for grid in ((1, 1), (8, 8), (14, 14), (56, 28))]
        [1, 1, 2, 7]
    """
    return math.ceil(max(grid) / _TOKENS_A_SIDE)


def draw_prior(images: int, tokens: int, share: float | Tensor, device: torch.device | None = None) -> Tensor:
    """Return which tokens are the teacher's: in each image as many as the share says, at random places.

    Args:
        images: number of images, each with a draw of its own.
        tokens: number of tokens of an image.
        share: of the teacher's tokens, in [0, 1], rounded to whole tokens; one token always stays the student's, since
            a hybrid without any would not teach it.
        device: where the draw is made.

    Returns:
        (images, tokens), bool.

    Example:
        >>> draw_prior(2, 8, 0.75).sum(dim=1).tolist()
        [6, 6]
    """
    count = torch.as_tensor(share * tokens, device=device).round().clamp(max=tokens - 1)
    # A random order holds each number once, so as many as the count lie below it, at random places.
    return torch.rand(images, tokens, device=device).argsort(dim=1) < count


class PatchEncoder(nn.Module):
    """Turns a map into patch tokens by a small vision transformer.

    Args:
        channels: of the map.
        grid: height and width of the map; the last patch of a row or column is filled up with zeros.
        patch: side of a patch.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.

    Example:
        >>> PatchEncoder(16, (7, 5), patch=2, width=8, depth=1, heads=2)(torch.rand(3, 16, 7, 5)).shape
        torch.Size([3, 12, 8])
    """

    def __init__(self, channels: int, grid: tuple[int, int], patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        rows, columns = _count_patches(grid, patch)
        self.padding = (0, columns * patch - grid[1], 0, rows * patch - grid[0])
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(1, rows * columns, width))
        nn.init.trunc_normal_(self.position, std=_POSITION_DEVIATION)
        self.blocks = _make_blocks(width, depth, heads)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the tokens (B, N, width) of a map (B, C, H, W)."""
        if any(self.padding):
            feature_map = F.pad(feature_map, self.padding)
        tokens: Tensor = self.blocks(self.embed(feature_map).flatten(2).transpose(1, 2) + self.position)
        return tokens


class PatchDecoder(nn.Module):
    """Turns patch tokens into a map; the mirror image of :class:`PatchEncoder`.

    Args:
        channels: of the map.
        grid: height and width of the map.
        patch: side of a patch.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
    """

    def __init__(self, channels: int, grid: tuple[int, int], patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.grid, self.patch, self.patches = grid, patch, _count_patches(grid, patch)
        self.blocks = _make_blocks(width, depth, heads)
        self.restore = nn.Linear(width, channels * patch**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the map (B, C, H, W) of tokens (B, N, width)."""
        values = self.restore(self.blocks(tokens)).transpose(1, 2).unflatten(2, self.patches)
        height, width = self.grid
        return F.pixel_shuffle(values, self.patch)[:, :, :height, :width]


class HybridStage(nn.Module):
    """An encoder for each network's map of a stage, and the decoder that reads the mixture of their tokens.

    Args:
        channels: of the student's and of the teacher's map.
        grid: height and width that both are pooled to.
        patch: side of a patch.
        width: of the tokens.
        depth: number of blocks of each encoder and of the decoder.
        heads: of the attention.
    """

    def __init__(
        self, channels: tuple[int, int], grid: tuple[int, int], patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.student, self.teacher = (PatchEncoder(c, grid, patch, width, depth, heads) for c in channels)
        self.decoder = PatchDecoder(channels[1], grid, patch, width, depth, heads)

    def forward(self, student_map: Tensor, teacher_map: Tensor, share: float | Tensor) -> Tensor:
        """Return the teacher's map as predicted from the student's tokens and, of this share, the teacher's own."""
        ours, theirs = self.student(student_map), self.teacher(teacher_map)
        prior = draw_prior(ours.shape[0], ours.shape[1], share, ours.device)
        predicted: Tensor = self.decoder(torch.where(prior.unsqueeze(2), theirs, ours))
        return predicted


def _count_patches(grid: tuple[int, int], patch: int) -> tuple[int, int]:
    return math.ceil(grid[0] / patch), math.ceil(grid[1] / patch)


def _make_blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    """Return blocks of attention and a two-layer perceptron, each with a norm before it, and a norm at the end."""
    blocks = (
        nn.TransformerEncoderLayer(
            width, heads, _MLP_RATIO * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(depth)
    )
    return nn.Sequential(*blocks, nn.LayerNorm(width))
