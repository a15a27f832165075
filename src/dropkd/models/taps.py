"""How maps and embedding are read from a plain model, without editing it and in one pass."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from dropkd.contracts import Outputs

__all__ = ["IntermediatesTaps", "TappedTaps", "Taps", "has_intermediates"]


class Taps(Protocol):
    """A way to read :class:`Outputs` from a model; it holds names and numbers, never the model."""

    def read(self, model: nn.Module, pixels: Tensor, *, maps: bool) -> Outputs:
        """Run the model once on normalised pixels and return its answer, on demand without the maps."""
        ...


class TappedTaps:
    """For dropkd's own models, which have a method ``tapped(x) -> Outputs``."""

    def read(self, model: nn.Module, pixels: Tensor, *, maps: bool) -> Outputs:
        """Run the model once; see :class:`Taps`."""
        tapped: Any = model
        answer: Outputs = tapped.tapped(pixels)
        return answer if maps else Outputs(answer.logits, (), answer.embedding)


class IntermediatesTaps:
    """For timm's models, which give their own intermediate maps and part the head from the classifier.

    Args:
        indices: which of the model's intermediate maps are read.
    """

    def __init__(self, indices: tuple[int, ...] | None = None) -> None:
        self.indices = indices

    def read(self, model: nn.Module, pixels: Tensor, *, maps: bool) -> Outputs:
        """Run the model once; see :class:`Taps`."""
        library: Any = model
        found: list[Tensor] = []
        if maps:
            indices = None if self.indices is None else list(self.indices)
            features, found = library.forward_intermediates(pixels, indices=indices, output_fmt="NCHW")
        else:
            features = library.forward_features(pixels)
        embedding = library.forward_head(features, pre_logits=True)
        classifier = library.get_classifier()
        # Two heads (distilled models) read different tokens; only the model knows how to join their logits.
        joined = isinstance(classifier, nn.Module)
        logits = classifier(embedding) if joined else library.forward_head(features)
        if embedding.ndim > 2:
            embedding = embedding.flatten(2).mean(2)
        return Outputs(logits.flatten(1), tuple(found), embedding)


def has_intermediates(model: nn.Module) -> bool:
    """Return whether the model has timm's interface to intermediate maps."""
    wanted = ("forward_intermediates", "forward_features", "forward_head", "get_classifier")
    return all(callable(getattr(model, name, None)) for name in wanted)
