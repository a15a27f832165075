"""VGGs for 32x32 images, with batch norm and a single linear layer at the end."""

from __future__ import annotations

from torch import Tensor, nn

from dropkd.contracts import Outputs
from dropkd.errors import ModelError

__all__ = ["CIFAR_VGGS", "CifarVGG"]

_WIDTHS = (64, 128, 256, 512, 512)
# The height at which the fourth block is followed by a pooling: Tiny-ImageNet's.
_HEIGHT_WITH_FOURTH_POOLING = 64
# Three poolings by two leave nothing of a smaller image.
_LEAST_SIZE = 8

# name: convolutions of each of the five blocks.
CIFAR_VGGS: dict[str, tuple[int, int, int, int, int]] = {
    "cifar_vgg8": (1, 1, 1, 1, 1),
    "cifar_vgg11": (1, 1, 2, 2, 2),
    "cifar_vgg13": (2, 2, 2, 2, 2),
    "cifar_vgg16": (2, 2, 3, 3, 3),
    "cifar_vgg19": (2, 2, 4, 4, 4),
}


class CifarVGG(nn.Module):
    """A VGG of five blocks with batch norm; takes images of 8x8 pixels or more.

    The parameters are named as in the published archives of CIFAR teachers, which therefore load as they are.

    Args:
        convolutions: number of 3x3 convolutions of each block.
        num_classes: number of logits.

    Note:
        The first block is the stem of the public benchmarks, so the maps are those of the other four. The fourth
        block is followed by a pooling only for images that are 64 pixels high, as there: both last maps of a 32x32
        image are 4x4.

    References:
        Simonyan, Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, table 1.
    """

    def __init__(self, convolutions: tuple[int, int, int, int, int], num_classes: int = 100) -> None:
        super().__init__()
        self.block0 = _make_block(3, _WIDTHS[0], convolutions[0])
        self.block1 = _make_block(_WIDTHS[0], _WIDTHS[1], convolutions[1])
        self.block2 = _make_block(_WIDTHS[1], _WIDTHS[2], convolutions[2])
        self.block3 = _make_block(_WIDTHS[2], _WIDTHS[3], convolutions[3])
        self.block4 = _make_block(_WIDTHS[3], _WIDTHS[4], convolutions[4])
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_WIDTHS[4], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.classifier

    def tapped(self, x: Tensor) -> Outputs:
        """Return logits, the map of each block but the first after its ReLU, and the pooled embedding.

        Raises:
            ModelError: the images are too small.
        """
        height, width = x.shape[-2:]
        if min(height, width) < _LEAST_SIZE:
            raise ModelError(
                f"A VGG needs images of at least {_LEAST_SIZE}x{_LEAST_SIZE} pixels, got {height}x{width}."
            )
        stem = self.relu(self.block0(x))
        first = self.relu(self.block1(self.pool(stem)))
        second = self.relu(self.block2(self.pool(first)))
        third = self.relu(self.block3(self.pool(second)))
        pooled = self.pool(third) if height == _HEIGHT_WITH_FOURTH_POOLING else third
        fourth = self.relu(self.block4(pooled))
        embedding = self.avgpool(fourth).flatten(1)
        return Outputs(self.classifier(embedding), (first, second, third, fourth), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images (B, 3, H, W)."""
        return self.tapped(x).logits


def _make_block(channels_in: int, channels: int, convolutions: int) -> nn.Sequential:
    """Return convolutions with norm and ReLU; the last ReLU is left to the caller, who may want what is before it."""
    layers: list[nn.Module] = []
    for number in range(convolutions):
        layers.append(nn.Conv2d(channels if number else channels_in, channels, 3, padding=1))
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
