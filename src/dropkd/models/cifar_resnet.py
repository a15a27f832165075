"""The residual networks for 32x32 images that most distillation papers compare on."""

from __future__ import annotations

from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.models.pooling import average_positions

__all__ = ["CIFAR_RESNETS", "CifarResNet"]

# name: depth, then the channels of the stem and of the three stages.
CIFAR_RESNETS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "cifar_resnet8": (8, (16, 16, 32, 64)),
    "cifar_resnet14": (14, (16, 16, 32, 64)),
    "cifar_resnet20": (20, (16, 16, 32, 64)),
    "cifar_resnet32": (32, (16, 16, 32, 64)),
    "cifar_resnet44": (44, (16, 16, 32, 64)),
    "cifar_resnet56": (56, (16, 16, 32, 64)),
    "cifar_resnet110": (110, (16, 16, 32, 64)),
    "cifar_resnet8x4": (8, (32, 64, 128, 256)),
    "cifar_resnet32x4": (32, (32, 64, 128, 256)),
}


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + shortcut)
        return out


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers with a 3x3 stem and three stages; takes images of any size.

    The parameters are named as in the published archives of CIFAR teachers, which therefore load as they are.

    Args:
        depth: 6n + 2, with n blocks a stage.
        widths: channels of the stem and of the three stages.
        num_classes: number of logits.

    References:
        He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, section 4.2.
        The shortcuts are projections (option B) and the wide variants widen the first stage too, as in the
        archives.
    """

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int = 100) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        stem, *stages = widths
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = _make_stage(stem, stages[0], blocks, stride=1)
        self.layer2 = _make_stage(stages[0], stages[1], blocks, stride=2)
        self.layer3 = _make_stage(stages[1], stages[2], blocks, stride=2)
        self.fc = nn.Linear(stages[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.fc

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the map of each stage after its ReLU, and the pooled embedding."""
        first = self.layer1(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        third = self.layer3(second)
        embedding = average_positions(third)
        return Outputs(self.fc(embedding), (first, second, third), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


def _make_stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = _BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(_BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
