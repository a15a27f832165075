"""Exit branches: from a map in the middle of a network to logits, by a way that suits the network's kind."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.functional.checks import check_batch

__all__ = ["TokenExit", "count_last_cells", "make_convolution_exit"]

# The authors' networks have four stages, so that the first is three steps from the last.
_MOST_STEPS = 3
# Tokens are merged until their grid is about this large, that of the last stage of most networks at 224 px.
_LAST_GRID = 7
_HEADS = 4
_MLP_RATIO = 4


class SeparableConvolution(nn.Module):
    """Two depthwise 3x3 convolutions, each with a 1x1 convolution, batch norm and ReLU; halves the grid.

    Args:
        channels_in: of the map.
        channels: of the result.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.Conv2d(channels_in, channels_in, 3, stride=2, padding=1, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels_in, 1, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False),
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return a map of half the height and width, rounded up."""
        if self.training and max(feature_map.shape[2:]) <= 2:
            check_batch(feature_map, 2, "the batch norm of an exit branch that comes down to one cell")
        result: Tensor = self.op(feature_map)
        return result


def make_convolution_exit(channels: int, width: int, num_classes: int, stages_left: int) -> nn.Sequential:
    """Return the exit of a convolutional network: halving, average over positions, linear layer.

    Args:
        channels: of the map.
        width: what the linear layer sees.
        num_classes: number of logits.
        stages_left: stages of the network after this map. The grid is halved as often, three times at most, while
            the channels double, and come to ``width`` at the last; without stages left there is one 1x1 convolution.
    """
    steps = min(stages_left, _MOST_STEPS)
    widths = [*(channels * 2**step for step in range(steps)), width]
    halvings = map(SeparableConvolution, widths[:-1], widths[1:])
    layers = halvings if steps else [nn.Conv2d(channels, width, 1)]
    branch = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    return branch.apply(_initialize)


def count_last_cells(grid: tuple[int, int], stages_left: int) -> int:
    """Return how many cells such an exit comes down to before the average.

    Example:
        >>> count_last_cells((8, 5), 2)
        4
    """
    parts = 1 << min(stages_left, _MOST_STEPS)
    return math.ceil(grid[0] / parts) * math.ceil(grid[1] / parts)


class TokenExit(nn.Module):
    """The exit of a transformer: tokens are merged, attend to each other, and are averaged for a linear layer.

    Args:
        channels: of the map.
        grid: height and width of the map.
        width: of merged tokens; without merging they keep the width of the map.
        num_classes: number of logits.
        stages_left: stages of the network after this map, as many as there are blocks, from one to three.
    """

    def __init__(self, channels: int, grid: tuple[int, int], width: int, num_classes: int, stages_left: int) -> None:
        super().__init__()
        merges = max(int(math.log2(math.sqrt(grid[0] * grid[1]) / _LAST_GRID)), 0)
        widths = [channels, *[width] * merges]
        # As in the authors' code: the last of several merges has no activation, a single one has.
        activated = [merges == 1 or i < merges - 1 for i in range(merges)]
        self.merges = nn.Sequential(*map(TokenMerge, widths[:-1], widths[1:], activated))
        count = min(max(stages_left, 1), _MOST_STEPS)
        self.blocks = nn.Sequential(*(TokenBlock(widths[-1]) for _ in range(count)))
        self.linear = nn.Linear(widths[-1], num_classes)
        self.apply(_initialize)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return logits (B, K) for a map (B, C, H, W)."""
        tokens: Tensor = self.merges(feature_map).flatten(2).transpose(1, 2)
        logits: Tensor = self.linear(self.blocks(tokens).mean(dim=1))
        return logits


class TokenMerge(nn.Module):
    """Makes one token of each 2x2 of a map: layer norm over their channels together, linear layer, GELU.

    Args:
        channels: of the map.
        width: of the result.
        activated: whether the GELU is there.
    """

    def __init__(self, channels: int, width: int, activated: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.linear = nn.Linear(4 * channels, width, bias=False)
        self.activation = nn.GELU() if activated else nn.Identity()

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return a map of half the height and width; odd sides get a row or column of zeros first."""
        height, width = feature_map.shape[2:]
        four = F.pixel_unshuffle(F.pad(feature_map, (0, width % 2, 0, height % 2)), 2)
        merged: Tensor = self.activation(self.linear(self.norm(four.movedim(1, -1))))
        return merged.movedim(-1, 1)


class TokenBlock(nn.Module):
    """A transformer block: attention and a layer of four times the width, each after a layer norm and added.

    Args:
        width: of the tokens. There are four heads, or as many as divide it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = math.gcd(width, _HEADS)
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)
        hidden = _MLP_RATIO * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, D) of the same shape."""
        tokens = tokens + self._attend(self.norm_attention(tokens))
        result: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return result

    def _attend(self, tokens: Tensor) -> Tensor:
        split = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*split.unbind(0))
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


def _initialize(module: nn.Module) -> None:
    """Start as the authors do: convolutions by their outputs, linear layers near 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)
