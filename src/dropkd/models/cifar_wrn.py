"""The wide residual networks for 32x32 images that most distillation papers compare on."""

from __future__ import annotations

from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.models.pooling import average_positions

__all__ = ["CIFAR_WRNS", "CifarWideResNet"]

# name: depth, then how many times wider than a thin ResNet.
CIFAR_WRNS: dict[str, tuple[int, int]] = {
    "cifar_wrn_16_1": (16, 1),
    "cifar_wrn_16_2": (16, 2),
    "cifar_wrn_40_1": (40, 1),
    "cifar_wrn_40_2": (40, 2),
}


class _Block(nn.Module):
    """Norm, ReLU and convolution, twice; where the shape changes, the shortcut begins after the first ReLU."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.convShortcut: nn.Module | None = None
        if channels_in != channels:
            self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(first)
        out: Tensor = shortcut + self.conv2(self.relu2(self.bn2(self.conv1(first))))
        return out


class _Stage(nn.Module):
    """Blocks one after another; the archives' names have a ``layer`` in between."""

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = _Block(channels_in, channels, stride)
        self.layer = nn.Sequential(first, *(_Block(channels, channels, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class CifarWideResNet(nn.Module):
    """A wide ResNet of 6n + 4 layers with a 3x3 stem and three stages; takes images of any size.

    The parameters are named as in the published archives of CIFAR teachers, which therefore load as they are.

    Args:
        depth: 6n + 4, with n blocks a stage.
        widening: the stages have 16, 32 and 64 channels times this.
        num_classes: number of logits.

    Note:
        Norm and ReLU come before each convolution, so a stage ends in a sum: its map is no ReLU's output. What the
        next ReLU is given, by the next block's batch norm, stands in for the map before its last activation, as in the
        public benchmarks. One of them runs these norms a second time in each training step, which moves their running
        statistics twice; here once.
        Images are pooled whole rather than in windows of 8x8: the same at 32 px, and right at other sizes.

    References:
        Zagoruyko, Komodakis. Wide Residual Networks. BMVC 2016, section 2.
    """

    def __init__(self, depth: int, widening: int, num_classes: int = 100) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = (16 * widening, 32 * widening, 64 * widening)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = _Stage(16, widths[0], blocks, stride=1)
        self.block2 = _Stage(widths[0], widths[1], blocks, stride=2)
        self.block3 = _Stage(widths[1], widths[2], blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.relu = nn.ReLU()
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.fc

    def next_activations(self) -> tuple[tuple[str, str], ...]:
        """Return for each map the names of the ReLU that comes next and of the batch norm in between."""
        blocks = [(f"block{stage}.layer.0.relu1", f"block{stage}.layer.0.bn1") for stage in (2, 3)]
        return (*blocks, ("relu", "bn1"))

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the sum that each stage ends in, and the pooled embedding."""
        first = self.block1(self.conv1(x))
        second = self.block2(first)
        third = self.block3(second)
        embedding = average_positions(self.relu(self.bn1(third)))
        return Outputs(self.fc(embedding), (first, second, third), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits
