"""How deep each parameter of a model lies, from the embedding of its pixels to its classifier."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from timm.models import group_parameters
from torch import nn

from dropkd.models.network import Network

__all__ = ["Depths", "find_depths", "find_heads"]

_logger = logging.getLogger(__name__)

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Depths:
    """The layers of a model.

    Args:
        layers: the layer of each parameter by its name in the model; 0 is what embeds the pixels.
        last: the number of the last one, which holds the classifier.
        heads: names of the modules that give the logits.
        by: where the order comes from.
    """

    layers: dict[str, int]
    last: int
    heads: tuple[str, ...]
    by: str

    def is_head(self, name: str) -> bool:
        """Whether a parameter of that name belongs to the classifier."""
        return any(name.startswith(f"{head}.") for head in self.heads)


def find_depths(network: Network) -> Depths:
    """Return the layers of a network's model.

    A model of timm says by itself which parameters make a layer. Of others, a layer is a block: a member of a list of
    modules (``Sequential``, ``ModuleList``) inside the model or inside what holds most of it, in the order in which
    the modules were made. What comes before the first block is layer 0, a normalisation belongs to the layer before
    it, and the classifier is the last.
    """
    model, heads = network.model, find_heads(network)
    matcher = getattr(model, "group_matcher", None)
    if callable(matcher):
        try:
            layers: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
            return Depths(layers, max(layers.values()), heads, "the model's own grouping")
        except Exception as error:
            _logger.debug("%s: its own grouping fails (%s); the order of modules", type(model).__name__, error)
    walk = _Walk(model, heads)
    layers = {name: number for number, names in enumerate(walk.layers) for name in names}
    last = len(walk.layers)
    layers.update((name, last) for name, _ in model.named_parameters() if name not in layers)
    return Depths(layers, last, heads, "the order of the model's modules")


def find_heads(network: Network) -> tuple[str, ...]:
    """Return the names of the modules that give the logits; of models with several heads more than one.

    Empty where no module is known to.
    """
    model = network.model
    offered = getattr(model, "get_classifier", None)
    found: Any = offered() if callable(offered) else ()
    wanted = [found] if isinstance(found, nn.Module) else [m for m in found or () if isinstance(m, nn.Module)]
    names = [name for name, module in model.named_modules() if any(module is one for one in wanted)]
    if names and any(True for one in wanted for _ in one.parameters()):
        return tuple(names)
    if network.classifier_name is not None:
        return (network.classifier_name,)
    # Where something follows the last layer (SqueezeNet's ReLU and pooling), it is still the last with K outputs.
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.shape[0] == network.shapes.logits
    ]
    return tuple(layers[-1:])


class _Walk:
    """Goes through a model's modules in the order in which they were made, and cuts them into layers.

    Args:
        model: the model.
        heads: names of modules to pass over.
    """

    def __init__(self, model: nn.Module, heads: Collection[str]) -> None:
        self.layers: list[list[str]] = []
        self.heads = heads
        self._seen: set[int] = set()
        self._in_stem = _holds_blocks(model)
        self._descend("", model)

    def _descend(self, prefix: str, module: nn.Module) -> None:
        if isinstance(module, _LISTS):
            self._in_stem = False
        self._extend(prefix, module, recurse=False)
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            if path in self.heads:
                continue
            inner = isinstance(child, _LISTS) or not isinstance(module, _LISTS)
            if any(head.startswith(f"{path}.") for head in self.heads) or (inner and _is_cut(child)):
                self._descend(f"{path}.", child)
            elif self._in_stem or not _count_weights(child):
                self._extend(f"{path}.", child)
            else:
                self.layers.append([])
                self._extend(f"{path}.", child)

    def _extend(self, prefix: str, module: nn.Module, recurse: bool = True) -> None:
        """Add a module's parameters to the layer in progress."""
        for name, parameter in module.named_parameters(prefix.rstrip("."), recurse=recurse):
            if id(parameter) not in self._seen:
                self._seen.add(id(parameter))
                if not self.layers:
                    self.layers.append([])
                self.layers[-1].append(name)


def _is_cut(module: nn.Module) -> bool:
    """Whether a module is no layer itself but holds some: a plain list, or something around a list of blocks."""
    return type(module) in _LISTS or _holds_blocks(module)


def _holds_blocks(module: nn.Module) -> bool:
    """Whether there is a list in it with a member of several layers; a convolution with its norm is one layer."""
    lists = (m for m in module.modules() if isinstance(m, _LISTS))
    return any(_count_weights(child) > 1 for one in lists for child in one.children())


def _count_weights(module: nn.Module) -> int:
    return sum(p.ndim > 1 for p in module.parameters())
