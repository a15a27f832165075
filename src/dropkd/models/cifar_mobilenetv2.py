"""The MobileNetV2 of half the width that distillation papers train on 32x32 images."""

from __future__ import annotations

from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.models.pooling import average_positions

__all__ = ["CIFAR_MOBILENETS", "CifarMobileNetV2"]

# Of each group of blocks: expansion, channels at full width, blocks, stride of the first one.
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The groups after which a map is read: the last ones before the resolution changes, or at the end.
_LAST_OF_STAGE = (1, 2, 4, 6)
_STEM_CHANNELS = 32
_EMBEDDING = 1280

# name: channels as a share of the full width.
CIFAR_MOBILENETS: dict[str, float] = {"cifar_mobilenetv2": 0.5}


class _InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise 3x3 one, a linear 1x1 one that narrows; a shortcut where it fits."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * channels_in
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.has_shortcut = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


class CifarMobileNetV2(nn.Module):
    """A MobileNetV2 whose first stages keep their resolution; takes images of any size.

    The parameters are named as in the published archives of CIFAR networks, which therefore load as they are.

    Args:
        width: channels as a share of the full width; the embedding is not narrower than at full width.
        num_classes: number of logits.

    Note:
        The activations are ReLUs, not the ReLU6 of the paper, and the first block widens by a convolution too where
        the paper's has none, as in the public benchmarks. A map ends in a linear bottleneck, so there is no
        activation after it.

    References:
        Sandler, Howard, Zhu, Zhmoginov, Chen. MobileNetV2: Inverted Residuals and Linear Bottlenecks. CVPR 2018,
        table 2.
    """

    def __init__(self, width: float, num_classes: int = 100) -> None:
        super().__init__()
        channels = int(_STEM_CHANNELS * width)
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        groups = []
        for expansion, full, blocks, stride in _GROUPS:
            channels_in, channels = channels, int(full * width)
            first = _InvertedResidual(channels_in, channels, stride, expansion)
            others = (_InvertedResidual(channels, channels, 1, expansion) for _ in range(blocks - 1))
            groups.append(nn.Sequential(first, *others))
        self.blocks = nn.ModuleList(groups)
        self.conv2 = nn.Sequential(
            nn.Conv2d(channels, _EMBEDDING, 1, bias=False), nn.BatchNorm2d(_EMBEDDING), nn.ReLU()
        )
        linear = nn.Linear(_EMBEDDING, num_classes)
        self.classifier = nn.Sequential(linear)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # A depthwise convolution counts as if each channel saw them all, as in the benchmarks.
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.classifier[0]

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the last map of each stage, and the pooled embedding."""
        y = self.conv1(x)
        maps = []
        for number, group in enumerate(self.blocks):
            y = group(y)
            if number in _LAST_OF_STAGE:
                maps.append(y)
        embedding = average_positions(self.conv2(y))
        return Outputs(self.classifier(embedding), tuple(maps), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits
