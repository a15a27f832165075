"""The features of a network's layers, one set a layer, read while it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dropkd.errors import ConfigError, ModelError, did_you_mean
from dropkd.models.depth import find_depths
from dropkd.models.network import Network

__all__ = ["LAYER_CHOICES", "LayerReader"]

LAYER_CHOICES = ("stages", "blocks")

# A module with more than this share of a layer's parameters is the layer.
_MOST = 0.6


class LayerReader:
    """Reads what each layer of a network says about images.

    Args:
        network: whose layers; it is put into evaluation mode.
        choice: ``stages`` for the maps, the embedding and the logits; ``blocks`` for the output of each block of the
            model (a residual block, a transformer layer), and the logits.

    Attributes:
        names: of the layers, shallow to deep.

    Raises:
        ConfigError: an unknown choice.
        ModelError: the network shows nothing of its blocks.
    """

    def __init__(self, network: Network, choice: str = "stages") -> None:
        if choice not in LAYER_CHOICES:
            raise ConfigError(
                f"There are no layers {choice!r}, only {' and '.join(LAYER_CHOICES)}."
                f"{did_you_mean(choice, LAYER_CHOICES)}"
            )
        self.network = network.eval()
        self._modules: dict[str, nn.Module] | None = None
        if choice == "blocks":
            self._modules = _find_blocks(network)
            # Some modules hold others that are called without them; the order of use is that of an answer.
            used, _ = self._read_modules(torch.zeros(1, 3, *network.spec.image_size), self._modules)
            self._modules = {name: self._modules[name] for name in used}
            if not used:
                raise ModelError(f"{network.spec.name!r} shows nothing of its blocks: take its stages.")
        if self._modules is None:
            maps = len(network.shapes.maps)
            embedding = ("embedding",) if network.shapes.embedding else ()
            self.names = (*(f"stage {number + 1}" for number in range(maps)), *embedding, "logits")
        else:
            self.names = (*self._modules, "logits")

    @torch.no_grad()
    def read(self, images: Tensor) -> Sequence[Tensor]:
        """Return each layer's features, (B, ...), of images as :meth:`Network.forward` takes them."""
        if self._modules is None:
            answer = self.network(images)
            embedding = (answer.embedding,) if self.network.shapes.embedding else ()
            return [*answer.maps, *embedding, answer.logits]
        kept, logits = self._read_modules(images, self._modules)
        return [*(kept[name] for name in self._modules), logits]

    @torch.no_grad()
    def _read_modules(self, images: Tensor, modules: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the output of each module that takes part in the answer, in the order of use, and the logits."""
        kept: dict[str, Tensor] = {}

        def keep(name: str, output: Any) -> None:
            kept[name] = _tensor(output)

        hooks = [
            module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
            for name, module in modules.items()
        ]
        try:
            logits = self.network(images.to(_device_of(self.network)), maps=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        return kept, logits


def _device_of(network: Network) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def _find_blocks(network: Network) -> dict[str, nn.Module]:
    """Return the modules that hold the model's layers, shallow to deep, without the classifier."""
    depths = find_depths(network)
    names: dict[int, list[str]] = {}
    for parameter, layer in depths.layers.items():
        if layer < depths.last:
            names.setdefault(layer, []).append(parameter)
    found = [_common_module(names[layer]) for layer in sorted(names)]
    blocks = {name: network.model.get_submodule(name) for name in dict.fromkeys(found) if name}
    if not blocks:
        raise ModelError(f"{network.spec.name!r} shows nothing of its blocks: take its stages.")
    return blocks


def _common_module(parameters: Sequence[str]) -> str:
    """Return the innermost module that holds most of these parameters; empty for the model itself.

    Most, not all: a normalisation after the last block counts as a part of it.
    """
    paths = [name.split(".")[:-1] for name in parameters]
    shared: list[str] = []
    while True:
        following = Counter(path[len(shared)] for path in paths if len(path) > len(shared))
        if not following:
            break
        name, times = following.most_common(1)[0]
        if times <= _MOST * len(parameters):
            break
        shared.append(name)
        paths = [path for path in paths if path[: len(shared)] == shared]
    return ".".join(shared)


def _tensor(output: Any) -> Tensor:
    """Return a block's features; of several outputs the first."""
    found = output
    while not isinstance(found, Tensor):
        values = found.values() if isinstance(found, dict) else found
        found = next(iter(values))
    return found
