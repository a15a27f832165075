"""ImageNet's ResNets with a stem for 32x32 images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dropkd.contracts import Outputs

__all__ = ["CIFAR_IMAGENET_RESNETS", "CifarImageNetResNet"]

_WIDTHS = (64, 128, 256, 512)
# How many times wider a bottleneck ends than it is inside.
_EXPANSION = 4

# name: blocks of each stage, and whether they are bottlenecks.
CIFAR_IMAGENET_RESNETS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "cifar_resnet18": ((2, 2, 2, 2), False),
    "cifar_resnet50": ((3, 4, 6, 3), True),
}


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _make_shortcut(channels_in, channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class _Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution around a shortcut; the 3x3 one has the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = _EXPANSION * channels
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.shortcut = _make_shortcut(channels_in, wide, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


class CifarImageNetResNet(nn.Module):
    """A ResNet of four stages whose stem is one 3x3 convolution without pooling; takes images of any size.

    The parameters are named as in the published archives of CIFAR teachers, which therefore load as they are.

    Args:
        blocks: number of blocks of each stage.
        bottlenecks: whether the blocks are bottlenecks.
        num_classes: number of logits.

    References:
        He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, table 1.
    """

    def __init__(self, blocks: tuple[int, int, int, int], bottlenecks: bool, num_classes: int = 100) -> None:
        super().__init__()
        expansion = _EXPANSION if bottlenecks else 1
        inputs = (_WIDTHS[0], *(expansion * width for width in _WIDTHS[:-1]))
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _make_stage(bottlenecks, inputs[0], _WIDTHS[0], blocks[0], stride=1)
        self.layer2 = _make_stage(bottlenecks, inputs[1], _WIDTHS[1], blocks[1], stride=2)
        self.layer3 = _make_stage(bottlenecks, inputs[2], _WIDTHS[2], blocks[2], stride=2)
        self.layer4 = _make_stage(bottlenecks, inputs[3], _WIDTHS[3], blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(expansion * _WIDTHS[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.linear

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the map of each stage after its ReLU, and the pooled embedding."""
        first = self.layer1(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        embedding = self.avgpool(fourth).flatten(1)
        return Outputs(self.linear(embedding), (first, second, third, fourth), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


def _make_shortcut(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and channels_in == channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def _make_stage(bottlenecks: bool, channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    layers: Sequence[nn.Module]
    if bottlenecks:
        wide = _EXPANSION * channels
        layers = [_Bottleneck(wide if i else channels_in, channels, 1 if i else stride) for i in range(blocks)]
    else:
        layers = [_BasicBlock(channels if i else channels_in, channels, 1 if i else stride) for i in range(blocks)]
    return nn.Sequential(*layers)
