"""The projection space of DropKD: an encoder, a decoder and a classifier for each network and stage."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

__all__ = ["Classifier", "Decoder", "Encoder", "Sides", "StageProjection"]

Sides = Literal["teacher", "both"]


class Encoder(nn.Sequential):
    """Takes a network's map into the projection space: 1x1 convolution, norm, ReLU, 1x1 convolution.

    Args:
        channels: of the network's map.
        width: of the projection space.
    """

    def __init__(self, channels: int, width: int) -> None:
        # One group: each image is normalised by itself, so that a batch of one image and a grid of one cell
        # are fine.
        super().__init__(
            nn.Conv2d(channels, width, 1), nn.GroupNorm(1, width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)
        )


class Decoder(nn.Sequential):
    """Takes a code back to a network's map; the mirror image of :class:`Encoder`.

    Args:
        channels: of the network's map.
        width: of the projection space.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, 1), nn.GroupNorm(1, width), nn.ReLU(inplace=True), nn.Conv2d(width, channels, 1)
        )


class Classifier(nn.Module):
    """Predicts the class from a code: average over positions, then a linear layer.

    Args:
        width: of the projection space.
        num_classes: number of logits.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes)

    def forward(self, code: Tensor) -> Tensor:
        """Return logits (B, K) for a code (B, width, H, W)."""
        logits: Tensor = self.linear(code.mean(dim=(2, 3)))
        return logits


class StageProjection(nn.Module):
    """The encoders, decoders and classifiers of both networks for one pair of maps.

    Args:
        channels: channels of the map by side, ``student`` and ``teacher``.
        width: of the projection space.
        num_classes: classes of the task.
        decoded: the sides that have a decoder.
        classified: the sides that have a classifier.
    """

    def __init__(
        self,
        channels: dict[str, int],
        width: int,
        num_classes: int,
        decoded: tuple[str, ...],
        classified: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({side: Encoder(count, width) for side, count in channels.items()})
        self.decoders = nn.ModuleDict({side: Decoder(channels[side], width) for side in decoded})
        self.classifiers = nn.ModuleDict({side: Classifier(width, num_classes) for side in classified})

    def encode(self, side: str, feature_map: Tensor) -> Tensor:
        """Return the code (B, width, H, W) of a network's map, in the map's own precision."""
        code: Tensor = self.encoders[side](feature_map)
        return code.to(feature_map.dtype)

    def classify(self, side: str, code: Tensor) -> Tensor:
        """Return logits (B, K) for a network's code, in the code's own precision."""
        logits: Tensor = self.classifiers[side](code)
        return logits.to(code.dtype)
