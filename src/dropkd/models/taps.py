"""How maps and embedding are read from a plain model, without editing it and in one pass."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dropkd.contracts import Outputs

__all__ = ["IntermediatesTaps", "TappedTaps", "Taps", "classify", "has_intermediates", "offer_embedding"]


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
        indices: which of the model's intermediate maps are read; all where None.
        whole_head: whether the logits are more than what the classifier makes of the embedding (several heads).
        watched: name of the layer whose input is the embedding, where the head itself does not offer it.
    """

    def __init__(
        self,
        indices: tuple[int, ...] | None = None,
        *,
        whole_head: bool = False,
        watched: str | None = None,
    ) -> None:
        self.indices = indices
        self.whole_head = whole_head
        self.watched = watched

    def read(self, model: nn.Module, pixels: Tensor, *, maps: bool) -> Outputs:
        """Run the model once; see :class:`Taps`."""
        library: Any = model
        found: list[Tensor] = []
        if maps:
            indices = None if self.indices is None else list(self.indices)
            features, found = library.forward_intermediates(pixels, indices=indices, output_fmt="NCHW")
        else:
            features = library.forward_features(pixels)
        logits, embedding = self.read_head(model, features)
        return Outputs(logits, tuple(found), embedding)

    def read_head(self, model: nn.Module, features: Any) -> tuple[Tensor, Tensor]:
        """Return logits and embedding of what the model's body gave."""
        library: Any = model
        if self.watched is not None:
            watched: tuple[Tensor, Tensor] = _watch_head(model, features, self.watched)
            return watched
        embedding = offer_embedding(model, features)
        logits: Tensor = library.forward_head(features) if self.whole_head else classify(model, embedding)
        return logits, embedding


def has_intermediates(model: nn.Module) -> bool:
    """Return whether the model has timm's interface to intermediate maps."""
    wanted = ("forward_intermediates", "forward_features", "forward_head", "get_classifier")
    return all(callable(getattr(model, name, None)) for name in wanted)


def offer_embedding(model: nn.Module, features: Any) -> Tensor:
    """Return what the model's head offers as the embedding; of several branches, one after another."""
    library: Any = model
    offered = library.forward_head(features, pre_logits=True)
    embedding: Tensor = torch.cat(list(offered), dim=1) if isinstance(offered, (tuple, list)) else offered
    return embedding


def classify(model: nn.Module, embedding: Tensor) -> Tensor:
    """Return what the model's one classifier makes of the embedding (B, D)."""
    library: Any = model
    classifier = library.get_classifier()
    if isinstance(classifier, nn.Conv2d):
        embedding = embedding[:, :, None, None]
    logits: Tensor = classifier(embedding)
    return logits.flatten(1)


# Hooks that come and go make torch.compile start over at each step.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _watch_head(model: nn.Module, features: Any, watched: str) -> tuple[Tensor, Tensor]:
    library: Any = model
    seen: list[Tensor] = []
    layer = model.get_submodule(watched)
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        logits = library.forward_head(features)
    finally:
        handle.remove()
    return logits, seen[0].flatten(1)
