"""The ShuffleNets that distillation papers train on 32x32 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.models.pooling import average_positions

__all__ = ["CIFAR_SHUFFLENETS", "CifarShuffleNetV1", "CifarShuffleNetV2"]

_STEM_CHANNELS = 24
_GROUPS = 3
# Blocks of each stage.
_BLOCKS = (4, 8, 4)
_WIDTHS_V1 = (240, 480, 960)
_WIDTHS_V2 = (116, 232, 464)
_EMBEDDING_V2 = 1024


class _BlockV1(nn.Module):
    """A grouped 1x1, a depthwise 3x3 and a grouped 1x1 convolution with a shuffle of channels in between.

    With stride 2 they stand beside the pooled input, otherwise they are added to it.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        added = channels - channels_in if stride == 2 else channels
        narrow = added // 4
        # The stem's channels are too few to be parted.
        self.groups = 1 if channels_in == _STEM_CHANNELS else _GROUPS
        self.conv1 = nn.Conv2d(channels_in, narrow, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, padding=1, groups=narrow, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, added, 1, groups=_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(added)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = _shuffle(self.relu(self.bn1(self.conv1(x))), self.groups)
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + x if self.pool is None else torch.cat([y, self.pool(x)], dim=1))
        return out


class CifarShuffleNetV1(nn.Module):
    """A ShuffleNet of three groups with a 1x1 stem; takes images of any size.

    The parameters are named as in the published archives of CIFAR networks, which therefore load as they are.

    Args:
        num_classes: number of logits.

    Note:
        The stem neither strides nor pools, and there is a ReLU after the depthwise convolutions, which the paper has
        none after; both as in the public benchmarks.

    References:
        Zhang, Zhou, Lin, Sun. ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices.
        CVPR 2018, table 1.
    """

    def __init__(self, num_classes: int = 100) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.relu = nn.ReLU()
        self.layer1 = _make_stage_v1(_STEM_CHANNELS, _WIDTHS_V1[0], _BLOCKS[0])
        self.layer2 = _make_stage_v1(_WIDTHS_V1[0], _WIDTHS_V1[1], _BLOCKS[1])
        self.layer3 = _make_stage_v1(_WIDTHS_V1[1], _WIDTHS_V1[2], _BLOCKS[2])
        self.linear = nn.Linear(_WIDTHS_V1[2], num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.linear

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the map of each stage after its ReLU, and the pooled embedding."""
        first = self.layer1(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        third = self.layer3(second)
        embedding = average_positions(third)
        return Outputs(self.linear(embedding), (first, second, third), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


class _BlockV2(nn.Module):
    """Half of the channels pass as they are, the others through three convolutions; then they are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        passed, y = x.chunk(2, dim=1)
        y = self.relu(self.bn1(self.conv1(y)))
        y = self.relu(self.bn3(self.conv3(self.bn2(self.conv2(y)))))
        return _shuffle(torch.cat([passed, y], dim=1), 2)


class _DownBlockV2(nn.Module):
    """Two branches of stride 2 side by side, then a shuffle."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(channels_in, channels_in, 3, stride=2, padding=1, groups=channels_in, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv2 = nn.Conv2d(channels_in, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(channels_in, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        left = self.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.relu(self.bn3(self.conv3(x)))
        right = self.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        return _shuffle(torch.cat([left, right], dim=1), 2)


class CifarShuffleNetV2(nn.Module):
    """A ShuffleNetV2 of the plain width with a 1x1 stem; takes images of any size.

    The parameters are named as in the published archives of CIFAR networks, which therefore load as they are.

    Args:
        num_classes: number of logits.

    Note:
        The stem neither strides nor pools, as in the public benchmarks. A map ends in a shuffle of channels of which
        one half was left as it was, so there is no one activation before it.

    References:
        Ma, Zhang, Zheng, Sun. ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design. ECCV 2018,
        table 5.
    """

    def __init__(self, num_classes: int = 100) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.relu = nn.ReLU()
        self.layer1 = _make_stage_v2(_STEM_CHANNELS, _WIDTHS_V2[0], _BLOCKS[0])
        self.layer2 = _make_stage_v2(_WIDTHS_V2[0], _WIDTHS_V2[1], _BLOCKS[1])
        self.layer3 = _make_stage_v2(_WIDTHS_V2[1], _WIDTHS_V2[2], _BLOCKS[2])
        self.conv2 = nn.Conv2d(_WIDTHS_V2[2], _EMBEDDING_V2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_EMBEDDING_V2)
        self.linear = nn.Linear(_EMBEDDING_V2, num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.linear

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the last map of each stage, and the pooled embedding."""
        first = self.layer1(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        third = self.layer3(second)
        embedding = average_positions(self.relu(self.bn2(self.conv2(third))))
        return Outputs(self.linear(embedding), (first, second, third), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


CIFAR_SHUFFLENETS: dict[str, type[CifarShuffleNetV1 | CifarShuffleNetV2]] = {
    "cifar_shufflenetv1": CifarShuffleNetV1,
    "cifar_shufflenetv2": CifarShuffleNetV2,
}


def _make_stage_v1(channels_in: int, channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        _BlockV1(channels_in, channels, stride=2), *(_BlockV1(channels, channels, 1) for _ in range(blocks - 1))
    )


def _make_stage_v2(channels_in: int, channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_DownBlockV2(channels_in, channels), *(_BlockV2(channels) for _ in range(blocks - 1)))


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal out the channels of each group in turn."""
    batch, channels, height, width = x.shape
    parted = x.reshape(batch, groups, channels // groups, height, width)
    return parted.transpose(1, 2).reshape(batch, channels, height, width)
