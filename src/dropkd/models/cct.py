"""A small transformer for small images."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.models.tokens import fold_tokens, spread_evenly

__all__ = ["CCT", "CCTS"]

# name: blocks, kernel size, convolutions, width, heads, width of the MLP as a multiple of the width.
CCTS: dict[str, tuple[int, int, int, int, int, int]] = {
    "cct_2_3x2": (2, 3, 2, 128, 2, 1),
    "cct_4_3x2": (4, 3, 2, 128, 2, 1),
    "cct_7_3x1": (7, 3, 1, 256, 4, 2),
}


class _Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class _Block(nn.Module):
    """Attention and MLP, each after a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, attention_dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, attention_dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class CCT(nn.Module):
    """A compact convolutional transformer: convolutions make the tokens and attention pools them.

    Args:
        blocks: number of transformer blocks.
        kernel_size: of the convolutions.
        convolutions: how many there are; each is followed by a max-pooling that halves the sides.
        width: length of a token.
        heads: attention heads.
        mlp_ratio: width of the MLP as a multiple of ``width``.
        num_classes: number of logits.
        image_size: height and width; the position embedding is learned for it.
        attention_dropout: rate in [0, 1).
        drop_path: rate in [0, 1) of the last block; it rises from 0 with the depth.

    References:
        Hassani, Walton, Shah, Abuduweili, Li, Shi. Escaping the Big Data Paradigm with Compact Transformers.
        arXiv 2104.05704, 2021.

    Note:
        The blocks are plain pre-norm blocks; the authors' code normalises the shortcut once more.
    """

    def __init__(
        self,
        blocks: int,
        kernel_size: int,
        convolutions: int,
        width: int,
        heads: int,
        mlp_ratio: int,
        *,
        num_classes: int = 100,
        image_size: tuple[int, int] = (32, 32),
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        # All convolutions but the last have 64 channels, as in the paper; the last is as wide as a token.
        channels = [3, *[64] * (convolutions - 1), width]
        self.tokenizer = nn.ModuleList(_make_tokenizer_step(c, d, kernel_size) for c, d in pairwise(channels))
        grid = image_size
        for _ in range(convolutions):
            # A max-pooling with kernel 3, stride 2 and padding 1 halves, rounding up.
            grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        self.grid = grid
        self.pos_embed = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        rates = [drop_path * i / max(1, blocks - 1) for i in range(blocks)]
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio, attention_dropout, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.attention_pool = nn.Linear(width, 1)
        self.head = nn.Linear(width, num_classes)
        self._init_weights()

    def _init_weights(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return which parameters make a layer, in timm's form; norm and pooling belong to the last block."""
        blocks = r"^blocks" if coarse else [(r"^blocks\.(\d+)", None), (r"^norm|^attention_pool", (99999,))]
        return {"stem": r"^pos_embed|^tokenizer", "blocks": blocks}

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, maps (of up to four blocks) and embedding."""
        maps = []
        for step in self.tokenizer:
            x = step(x)
        tokens = x.flatten(2).transpose(1, 2) + self.pos_embed
        chosen = spread_evenly(len(self.blocks))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in chosen:
                maps.append(fold_tokens(tokens, self.grid))
        tokens = self.norm(tokens)
        share = self.attention_pool(tokens).softmax(dim=1)
        embedding = (share.transpose(1, 2) @ tokens).squeeze(1)
        return Outputs(self.head(embedding), tuple(maps), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


def _make_tokenizer_step(channels_in: int, channels: int, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
