"""What students and teachers have in common: images in, :class:`~dropkd.contracts.Outputs` out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dropkd.contracts import Outputs, Shapes
from dropkd.models.spec import ModelSpec

__all__ = ["Network", "count_parameters"]


class Network(nn.Module):
    """Takes images as they are and answers with logits, maps and embedding.

    A subclass defines :meth:`forward`: :class:`~dropkd.models.tapped.TappedNetwork` for a plain model, others for
    several models, for a function, for other classes.

    Args:
        model: holds the weights.
        spec: size and preprocessing.
        shapes: of the answer to one image.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec, shapes: Shapes) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.shapes = shapes
        # What makes it compute as its int8 file will, see dropkd.models.rounding.
        self.roundings: Any = None

    @property
    def classifier_name(self) -> str | None:
        """The name of the layer that turns the embedding into the logits, or None where no single one does."""
        return None

    @property
    def norms(self) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """For each map the weight and bias (C,) of the batch norm right before its last activation, or None.

        Empty where nothing is known of the network's inside.
        """
        return ()

    def forward(
        self, images: Tensor, *, maps: bool = True, preactivations: bool = False, crop: bool | None = None
    ) -> Outputs:
        """Return the answer to a batch of images.

        Args:
            images: (B, 3, h, w), RGB of any size, uint8 in 0..255 or floating point in 0..1.
            maps: whether the maps are wanted; without them ``Outputs.maps`` is empty. The classifier's weight is
                there either way, as it costs nothing.
            preactivations: whether the maps before their last activation are wanted.
            crop: show the network the centre part that it is evaluated on; by default in evaluation mode
                only. With ``crop=False`` a teacher sees the student's training view whole.
        """
        raise TypeError(f"{type(self).__name__} does not define forward(images, maps, preactivations, crop)")

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images as :meth:`forward` takes them."""
        return self.forward(images, maps=False).logits


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters, shared ones once, buffers not."""
    return sum(p.numel() for p in module.parameters())
