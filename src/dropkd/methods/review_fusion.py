"""The fusion module of ReviewKD, written so that its wide maps are read and written as few times as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        # The narrow matrix first: the other way round its gradient takes five times as long.
        asked = other @ deeper.permute(0, 2, 3, 1).flatten(0, 2).t() + (own @ bias + attention.bias).unsqueeze(1)
        projection = torch.cat((weight, bias.unsqueeze(1)), dim=1)
        fused: Tensor = _Blend.apply(rows, projection, own @ weight, asked, deeper, (height, width))
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
        mean, covariance = _Moments.apply(rows)
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


class _Moments(torch.autograd.Function):
    """Mean (C,) and covariance (C, C) of rows (N, C), of which the gradients are one product and not three."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, over N."""
        mean = rows.mean(dim=0)
        centred = rows - mean
        ctx.save_for_backward(centred)
        return mean, centred.t() @ centred / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_covariance: Tensor) -> Tensor:
        """Return the gradient of the rows."""
        (centred,) = ctx.saved_tensors
        # What the mean does to the covariance is nothing: the rows add up to 0 once it is taken away.
        both = (of_covariance + of_covariance.t()) / len(centred)
        return torch.addmm(of_mean / len(centred), centred, both)


class _Blend(torch.autograd.Function):
    """Adds a projection of narrow rows to a coarse map that is repeated over whole cells, both by their shares.

    Left to autograd, the repeated map, both summands and the gradients of each are wide maps of their own, whose
    reading and writing is a fifth of a step with ResNet-20. Here one is written forwards and one backwards.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, projection: Tensor, asking: Tensor, asked: Tensor, coarse: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Return (N, width), the positions of all images.

        Args:
            ctx: keeps what the gradients need.
            rows: (N, C), the positions of the narrow map.
            projection: (width, C + 1), its weight and, in the last column, its bias.
            asking: (2, C), what a position of the narrow map says to both shares before their sigmoid.
            asked: (2, n), what each position of the coarse map says to them.
            coarse: (B, width, H', W'), with n positions in all.
            grid: H and W of the narrow map, with B * H * W = N; multiples of H' and W'.
        """
        channels = rows.shape[1]
        shares = asking @ rows.t()
        _view_cells(shares, coarse, grid).add_(_view_cells(asked, coarse, coarse.shape[2:]))
        shares.sigmoid_()
        narrow = torch.empty(len(rows), channels + 1, dtype=rows.dtype, device=rows.device)
        torch.mul(rows, shares[0].unsqueeze(1), out=narrow[:, :channels])
        narrow[:, channels] = shares[0]
        fused = torch.empty(len(rows), len(projection), dtype=rows.dtype, device=rows.device)
        parts = _view_cells(shares[1], coarse, grid)
        torch.mul(_view_wide(coarse), parts.unsqueeze(-1), out=fused.view(*parts.shape, -1))
        ctx.save_for_backward(rows, narrow, projection, asking, coarse, shares)
        ctx.grid = grid
        return fused.addmm_(narrow, projection.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the first five arguments."""
        rows, narrow, projection, asking, coarse, shares = ctx.saved_tensors
        channels, gradient = rows.shape[1], gradient.contiguous()
        parts = _view_cells(shares[1], coarse, ctx.grid)
        by_cell = gradient.view(*parts.shape, -1)
        product, of_shares = torch.empty_like(by_cell), torch.empty_like(shares)
        torch.sum(torch.mul(by_cell, _view_wide(coarse), out=product).view(gradient.shape), dim=1, out=of_shares[1])
        torch.mul(by_cell, parts.unsqueeze(-1), out=product)
        cell = (parts.shape[2], parts.shape[4])
        wide = product.view(len(coarse), *ctx.grid, -1).permute(0, 3, 1, 2)
        # A sum over each cell: pooling is many times faster at it than a sum over two dimensions.
        of_coarse = F.avg_pool2d(wide, cell).mul_(cell[0] * cell[1])
        of_narrow = gradient @ projection
        of_rows = of_narrow[:, :channels] * rows
        torch.sum(of_rows, dim=1, out=of_shares[0])
        of_shares[0] += of_narrow[:, channels]
        of_shares *= shares * (1 - shares)
        torch.mul(of_narrow[:, :channels], shares[0].unsqueeze(1), out=of_rows)
        of_rows.addmm_(of_shares.t(), asking)
        of_asked = _view_cells(of_shares, coarse, ctx.grid).sum(dim=(3, 5)).view(2, -1)
        # The product of a wide and a narrow matrix is faster this way round.
        return of_rows, (narrow.t() @ gradient).t(), of_shares @ rows, of_asked, of_coarse, None


def _view_cells(values: Tensor, coarse: Tensor, grid: Sequence[int]) -> Tensor:
    """Return (..., N) numbers of positions as (..., B, H', rows of a cell, W', columns of a cell)."""
    images, _, height, width = coarse.shape
    return values.view(*values.shape[:-1], images, height, grid[0] // height, width, grid[1] // width)


def _view_wide(coarse: Tensor) -> Tensor:
    """Return a map (B, width, H', W') as (B, H', 1, W', 1, width), to be repeated over the positions of a cell."""
    return coarse.permute(0, 2, 3, 1)[:, :, None, :, None]
