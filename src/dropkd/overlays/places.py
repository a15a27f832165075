"""Where in a network its map is read: the deepest place that still has positions and that the logits hang on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dropkd.contracts import Outputs
from dropkd.errors import ModelError
from dropkd.models import Network
from dropkd.models.tokens import fold_tokens

__all__ = ["Place", "ask_at", "find_place"]

_logger = logging.getLogger(__name__)

# A map of fewer positions a side shows no more than halves and quarters of an image.
_LEAST_SIDE = 4


@dataclass(frozen=True)
class Place:
    """What a module takes or gives, as a map; or a map that the network itself gives and no module does.

    Args:
        module: its name in the network's model; the number of the map where it is the network's own.
        side: ``input``, ``output`` or ``map``.
        layout: ``channels first`` (B, C, H, W), ``channels last`` (B, H, W, C) or ``tokens`` (B, N, C), whose last
            H * W are the positions.
        grid: height and width of the map.
    """

    module: str
    side: str
    layout: str
    grid: tuple[int, int]

    def fold(self, features: Tensor) -> Tensor:
        """Return the features as (B, C, H, W)."""
        if self.layout == "tokens":
            return fold_tokens(features, self.grid)
        return features.permute(0, 3, 1, 2) if self.layout == "channels last" else features

    def __str__(self) -> str:
        what = {"input": "what goes into", "output": "what comes out of", "map": "map"}[self.side]
        number = str(int(self.module) + 1) if self.side == "map" else self.module
        return f"{what} {number}, {self.grid[0]} x {self.grid[1]}"


def find_place(network: Network, images: Tensor) -> Place:
    """Return where a network's map is read.

    Of the network's maps the deepest one with 4 x 4 positions or more is taken, or else the largest. The logits of a
    transformer that reads its class token alone do not hang on what its last block makes of the other tokens: what
    goes into that block is taken then.

    Args:
        network: in evaluation mode.
        images: some images as the network takes them.

    Raises:
        ModelError: the network shows no map with positions, or its logits hang on none of them.
    """
    nothing = ModelError(
        f"{network.spec.name!r} shows no map of its inside whose positions its answer hangs on; occlusion needs none."
    )
    # A program, whose modules can't be watched, has no maps either.
    if not network.shapes.maps:
        raise nothing
    with torch.no_grad(), _Recorder(network.model) as recorder:
        maps = network(images).maps
    places = [place for number in _rank(maps) for place in _list_places(recorder, number, maps[number])]
    for place in places:
        try:
            if _matters(network, images, place):
                return place
        except (RuntimeError, TypeError, ModelError) as error:
            _logger.debug("%s: %s can't be asked (%s)", network.spec.name, place, error)
    raise nothing


def ask_at(network: Network, images: Tensor, place: Place) -> tuple[Tensor, Outputs]:
    """Return what passes a place, whose gradients can be taken, and the answer that comes of it.

    Args:
        network: in evaluation mode.
        images: as the network takes them.
        place: of this network.
    """
    with torch.enable_grad():
        if place.side == "map":
            pixels = images / 255 if images.dtype == torch.uint8 else images
            answer = network(pixels.detach().requires_grad_())
            return answer.maps[int(place.module)], answer
        seen: list[Tensor] = []

        def take(value: Any) -> Any:
            tensor = _first_tensor(value)
            if tensor is None:
                raise ModelError(f"{place.module!r} gives no tensor.")
            # The gradients start here: what lies before is not gone back through.
            leaf = tensor.detach().requires_grad_()
            seen.append(leaf)
            # A copy is handed on, since what follows may write into it.
            return _replace_first(value, leaf.clone())

        module = network.model.get_submodule(place.module)
        if place.side == "input":
            handle = module.register_forward_pre_hook(lambda _module, inputs: take(inputs))
        else:
            handle = module.register_forward_hook(lambda _module, _inputs, output: take(output))
        try:
            answer = network(images)
        finally:
            handle.remove()
    if len(seen) != 1:
        raise ModelError(f"{place.module!r} is used {len(seen)} times in one answer.")
    return seen[0], answer


class _Recorder:
    """Keeps what goes into each module and what comes out of it, for modules that are called once."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.kept: dict[str, tuple[Tensor | None, Tensor | None]] = {}
        self.calls: dict[str, int] = {}
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> _Recorder:
        for name, module in self.model.named_modules():
            if name:
                self.handles.append(module.register_forward_hook(self._keep(name)))
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, inputs: Any, output: Any) -> None:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.kept[name] = (_first_tensor(inputs), _first_tensor(output))

        return keep

    def list_places(self, wanted: Tensor) -> list[Place]:
        """Return where this map is found, and after that what goes into the modules that give it."""
        found: list[tuple[str, str]] = []
        for name, (_, output) in self.kept.items():
            layout = None if output is None or self.calls[name] > 1 else _recognise(output, wanted)
            if layout is not None:
                found.append((name, layout))
        grid = (wanted.shape[-2], wanted.shape[-1])
        # Outer modules first: their names say more. Of what goes in, the innermost is the nearest.
        outer_first = sorted(found, key=lambda pair: pair[0].count("."))
        places = [Place(name, "output", layout, grid) for name, layout in outer_first]
        for name, layout in reversed(outer_first):
            given, output = self.kept[name]
            if given is not None and output is not None and given.shape == output.shape:
                places.append(Place(name, "input", layout, grid))
        return places


def _rank(maps: tuple[Tensor, ...]) -> list[int]:
    """Return the numbers of the maps with positions, in the order in which they are tried."""
    sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
    deep_first = [k for k in reversed(range(len(maps))) if sizes[k] != (1, 1)]
    large = [k for k in deep_first if min(sizes[k]) >= _LEAST_SIDE]
    rest = [k for k in deep_first if min(sizes[k]) < _LEAST_SIDE]
    return [*large, *sorted(rest, key=lambda k: -sizes[k][0] * sizes[k][1])]


def _list_places(recorder: _Recorder, number: int, wanted: Tensor) -> list[Place]:
    own = Place(str(number), "map", "channels first", (wanted.shape[-2], wanted.shape[-1]))
    return [*recorder.list_places(wanted), own]


def _recognise(features: Tensor, wanted: Tensor) -> str | None:
    """Return the layout in which features are that map, or None."""
    rows, channels, height, width = wanted.shape
    if features.shape == wanted.shape and torch.equal(features, wanted):
        return "channels first"
    if features.shape == (rows, height, width, channels) and torch.equal(features.permute(0, 3, 1, 2), wanted):
        return "channels last"
    is_long = features.ndim == 3 and features.shape[1] >= height * width and features.shape[2] == channels
    if is_long and len(features) == rows and torch.equal(fold_tokens(features, (height, width)), wanted):
        return "tokens"
    return None


def _matters(network: Network, images: Tensor, place: Place) -> bool:
    """Tell whether a change at some position would change the answer."""
    features, answer = ask_at(network, images, place)
    # A classifier may start at zero, and its logits hang on nothing then; what it sees does.
    told = answer.embedding if network.shapes.embedding else answer.logits
    # Weights that differ, since a normalised answer has a sum that never changes.
    weights = torch.linspace(1.0, 2.0, told.shape[1], device=told.device, dtype=told.dtype)
    (slope,) = torch.autograd.grad((told * weights).sum(), features, allow_unused=True)
    return slope is not None and bool(place.fold(slope).abs().max() > 0)


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    first = value[0] if isinstance(value, (tuple, list)) and value else None
    return first if isinstance(first, Tensor) else None


def _replace_first(value: Any, tensor: Tensor) -> Any:
    if isinstance(value, Tensor):
        return tensor
    return type(value)((tensor, *value[1:]))
