"""The fusion module of ReviewKD, written so that its wide maps are read and written as few times as possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Fusion"]


class Fusion(nn.Module):
    """One level of ReviewKD: fuses a map of the student with what the deeper levels gave, and predicts the teacher's.

    The map is projected to ``width`` channels and normalised. Where there is a deeper level, that level's result is
    resized to the map's grid, and each position decides by two sigmoids how much it takes of either. A 3 x 3
    convolution with a batch norm predicts the teacher's map.

    The parameters are named as in the authors' code, so that their weights load as they are.

    Args:
        channels: of the student's map.
        width: channels in between.
        target_channels: of the teacher's map.
        deepest: whether there is no deeper level to fuse with.

    Example:
        >>> level = Fusion(16, 64, 32, deepest=False)
        >>> predicted, result = level(torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4), (16, 16))
        >>> tuple(predicted.shape), tuple(result.shape)
        ((2, 32, 16, 16), (2, 64, 16, 16))
    """

    def __init__(self, channels: int, width: int, target_channels: int, *, deepest: bool) -> None:
        super().__init__()
        project = nn.Conv2d(channels, width, 1, bias=False)
        predict = nn.Conv2d(width, target_channels, 3, padding=1, bias=False)
        for convolution in (project, predict):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.conv1 = nn.Sequential(project, nn.BatchNorm2d(width))
        self.conv2 = nn.Sequential(predict, nn.BatchNorm2d(target_channels))
        self.att_conv: Any = None if deepest else nn.Sequential(nn.Conv2d(2 * width, 2, 1))

    def forward(self, feature_map: Tensor, deeper: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the predicted map of the teacher and what the next level is to be fused with.

        Args:
            feature_map: (B, C, H, W) of the student.
            deeper: (B, width, H', W'), the second result of the deeper level; None for the deepest.
            grid: height and width of the teacher's map.

        Returns:
            (B, target_channels, *grid) and (B, width, *grid).
        """
        result = self.conv1(feature_map) if deeper is None else self._fuse(feature_map, deeper)
        if result.shape[2:] != grid:
            result = F.interpolate(result, grid)
        return self.conv2(result), result

    def _fuse(self, feature_map: Tensor, deeper: Tensor) -> Tensor:
        """Return the weighted sum of both maps.

        The projection is linear once its statistics are known, so a position's share may come before it: the narrow
        map is weighed instead of the wide one, which is written once, onto the deeper level's share.
        """
        images, channels, height, width = feature_map.shape
        if height % deeper.shape[2] or width % deeper.shape[3]:
            deeper = F.interpolate(deeper, (height, width))
        rows = feature_map.permute(0, 2, 3, 1).reshape(-1, channels)
        weight, bias = _fold_norm(self.conv1[0], self.conv1[1], rows)
        attention = self.att_conv[0]
        own, other = attention.weight.flatten(1).chunk(2, dim=1)
        asked = F.linear(deeper.permute(0, 2, 3, 1), other).permute(0, 3, 1, 2)
        if asked.shape[2:] != (height, width):
            asked = F.interpolate(asked, (height, width))
        asked = asked.permute(0, 2, 3, 1).reshape(-1, 2)
        shares = (F.linear(rows, own @ weight, own @ bias + attention.bias) + asked).sigmoid()
        mine, theirs = shares.chunk(2, dim=1)
        narrow, projection = torch.cat((rows * mine, mine), dim=1), torch.cat((weight, bias.unsqueeze(1)), dim=1)
        fused: Tensor = _Blend.apply(narrow, projection, deeper, theirs.view(images, height, width))
        return fused.view(images, height, width, -1).permute(0, 3, 1, 2)


def _fold_norm(convolution: Any, norm: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight (width, C) and the bias (width,) that a 1x1 convolution and its batch norm are together.

    In training mode the mean and the variance of the wide map follow from the mean and the covariance of the narrow
    one, so that the wide one need not be there; the running statistics are kept as the batch norm keeps them.

    Args:
        convolution: without bias.
        norm: what follows it.
        rows: (N, C), the positions of all images.
    """
    weight = convolution.weight.flatten(1)
    if norm.training:
        mean = rows.mean(dim=0)
        centred = rows - mean
        covariance = centred.t() @ centred / len(rows)
        mean = weight @ mean
        # Rounding may leave a channel that does not vary just below 0.
        variance = ((weight @ covariance) * weight).sum(dim=1).clamp(min=0)
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (len(rows) / (len(rows) - 1)), norm.momentum)
            norm.num_batches_tracked.add_(1)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return weight * scale.unsqueeze(1), norm.bias - mean * scale


class _Blend(torch.autograd.Function):
    """Adds a projection of narrow rows to a coarse map that is repeated over whole cells and weighed.

    Left to autograd, the repeated map, both summands and the gradients of each are wide maps of their own, whose
    reading and writing is a fifth of a step with ResNet-20. Here one is written forwards and one backwards.
    """

    @staticmethod
    def forward(ctx: Any, narrow: Tensor, projection: Tensor, coarse: Tensor, shares: Tensor) -> Tensor:
        """Return (B * H * W, width) for rows (B * H * W, C), (width, C), a map (B, width, H', W'), shares (B, H, W)."""
        ctx.save_for_backward(narrow, projection, coarse, shares)
        cells, parts = _view_cells(coarse, shares)
        fused = narrow.new_empty(len(narrow), len(projection))
        torch.mul(cells, parts, out=fused.view(*parts.shape[:-1], -1))
        return fused.addmm_(narrow, projection.t())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of the four arguments."""
        narrow, projection, coarse, shares = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        cells, parts = _view_cells(coarse, shares)
        by_cell = gradient.view(*parts.shape[:-1], -1)
        product = torch.empty_like(by_cell)
        of_shares = torch.mul(by_cell, cells, out=product).sum(dim=-1).view(shares.shape)
        torch.mul(by_cell, parts, out=product)
        size = (parts.shape[2], parts.shape[4])
        # A sum over each cell: pooling is many times faster at it than a sum over two dimensions.
        of_coarse = F.avg_pool2d(product.view(*shares.shape, -1).permute(0, 3, 1, 2), size).mul_(size[0] * size[1])
        return gradient @ projection, gradient.t() @ narrow, of_coarse, of_shares


def _view_cells(coarse: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as (B, H', rows of a cell, W', columns of a cell, width), 1 where they are repeated."""
    images, width, height, length = coarse.shape
    cells = coarse.permute(0, 2, 3, 1).reshape(images, height, 1, length, 1, width)
    parts = shares.reshape(images, height, shares.shape[1] // height, length, shares.shape[2] // length, 1)
    return cells, parts
