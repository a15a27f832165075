"""Where a network's values are rounded in an int8 file, found by watching one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

__all__ = ["LAYERS", "Place", "RoundedLayer", "RoundingPlan", "find_places"]

# What has weights that are rounded.
LAYERS = (nn.Conv2d, nn.Linear)
_CONVOLUTIONS: tuple[Any, ...] = (torch.conv2d, F.conv2d)
_LINEAR: tuple[Any, ...] = (F.linear, torch._C._nn.linear)
# What an exporter folds into the convolution before it, and then what its result is rounded after.
_NORMS: tuple[Any, ...] = (F.batch_norm, torch.batch_norm)
_CLIPS: tuple[Any, ...] = (
    F.relu, F.relu_, F.relu6, F.hardtanh, F.hardtanh_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
    torch.clamp, torch.Tensor.clamp, torch.Tensor.clamp_,
)  # fmt: skip
# What does nothing in evaluation.
_IDENTITIES: tuple[Any, ...] = (F.dropout, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)

# A tensor as it was at one time: modules that work in place give back what they got.
_Key = tuple[int, int]
# A module's turn in a pass, counted from 0: one ReLU may be called at many places.
Turn = tuple[str, int]


@dataclass(frozen=True)
class Place:
    """A tensor that is rounded, by the modules that it can be caught at.

    Args:
        turns: the module that gives it, or all that take it, each with the number of its turn.
        side: ``output`` of the one, or ``input`` of the others.
    """

    turns: tuple[Turn, ...]
    side: str


@dataclass(frozen=True)
class RoundedLayer:
    """A convolution or linear layer.

    Args:
        name: of the module.
        input: number of the place of what it takes.
        output: number of the place of what comes out, after the batch norm and the ReLU that belong to it; None where
            no module gives or takes that, and for linear layers, whose results are not rounded.
    """

    name: str
    input: int
    output: int | None


@dataclass(frozen=True)
class RoundingPlan:
    """All that is rounded in a network.

    Args:
        places: tensors.
        layers: layers whose weights are rounded, in the order in which they run.
        calls: how many turns in a pass those modules have that are named in places.
    """

    places: tuple[Place, ...]
    layers: tuple[RoundedLayer, ...]
    calls: dict[str, int]


def find_places(model: nn.Module, image: Tensor) -> RoundingPlan:
    """Run the model once, without gradients, and return what of it is rounded.

    A layer is left out whose weight is not used as it is (standardised weights), or that is not called as a module.

    Args:
        model: in evaluation mode.
        image: (1, 3, H, W), normalised, of the size that the model is fed.
    """
    watch = _Watch(model)
    with torch.no_grad(), watch:
        model(image)
    return _Planner(watch).plan()


@dataclass
class _Call:
    function: Any
    inputs: list[_Key]
    output: _Key
    layer: str | None = None


@dataclass
class _Watch(TorchFunctionMode):
    """Writes down each function that gives a tensor, and what every module took and gave."""

    model: nn.Module
    calls: list[_Call] = field(default_factory=list)
    givers: dict[_Key, Turn] = field(default_factory=dict)
    takers: dict[_Key, list[Turn]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    _held: list[Tensor] = field(default_factory=list)
    _same: dict[_Key, _Key] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._weights = {
            id(module.weight): name for name, module in self.model.named_modules() if isinstance(module, LAYERS)
        }
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> _Watch:
        for name, module in self.model.named_modules():
            is_leaf = next(module.children(), None) is None
            self._handles.append(module.register_forward_pre_hook(self._note_taker(name, is_leaf)))
            self._handles.append(module.register_forward_hook(self._note_giver(name)))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = [self.key(value) for value in _tensors((*args, *(kwargs or {}).values()))]
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            if func in _IDENTITIES and inputs:
                self._held.append(output)
                self._same[id(output), output._version] = inputs[0]
            else:
                weight = args[1] if len(args) > 1 else (kwargs or {}).get("weight")
                name = self._weights.get(id(weight)) if func in (*_CONVOLUTIONS, *_LINEAR) else None
                self.calls.append(_Call(func, inputs, self.key(output), name))
        return output

    def key(self, value: Tensor) -> _Key:
        """Return what stands for a tensor as it is now; it is kept, so that no other gets its number."""
        self._held.append(value)
        key = (id(value), value._version)
        return self._same.get(key, key)

    def _note_taker(self, name: str, is_leaf: bool) -> Callable[..., None]:
        def note(module: nn.Module, args: Any) -> None:
            # What an outer module takes, an inner one takes as well, or it is used in another way.
            if is_leaf and args and isinstance(args[0], Tensor):
                self.takers.setdefault(self.key(args[0]), []).append((name, self.turns[name]))

        return note

    def _note_giver(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            # Inner modules come first, and what they give is caught by them.
            if isinstance(output, Tensor) and name:
                self.givers.setdefault(self.key(output), (name, self.turns[name]))
            self.turns[name] += 1

        return note


class _Planner:
    """Makes the plan of what was watched."""

    def __init__(self, watch: _Watch) -> None:
        self.watch = watch
        self.readers: dict[_Key, list[_Call]] = {}
        for call in watch.calls:
            for key in set(call.inputs):
                self.readers.setdefault(key, []).append(call)
        self.numbers: dict[_Key, int] = {}
        self.places: list[Place] = []

    def plan(self) -> RoundingPlan:
        layers: list[RoundedLayer] = []
        seen: set[str] = set()
        for call in self.watch.calls:
            name = call.layer
            if name is None or name in seen or not self._is_called(name, call.inputs[0]):
                continue
            seen.add(name)
            taken = self._number(call.inputs[0])
            given = self._number(self._follow(call)) if call.function in _CONVOLUTIONS else None
            if taken is not None:
                layers.append(RoundedLayer(name, taken, given))
        named = {name for place in self.places for name, _ in place.turns}
        calls = {name: count for name, count in self.watch.turns.items() if name in named}
        return RoundingPlan(tuple(self.places), tuple(layers), calls)

    def _is_called(self, name: str, key: _Key) -> bool:
        """Whether a layer takes this tensor as a module, where it can be caught."""
        return any(taker == name for taker, _ in self.watch.takers.get(key, ()))

    def _number(self, key: _Key) -> int | None:
        """Return the number of a tensor's place, a new one where it has none; None where it can't be caught."""
        if key not in self.numbers:
            giver, takers = self.watch.givers.get(key), self.watch.takers.get(key)
            if giver is None and not takers:
                return None
            self.numbers[key] = len(self.places)
            self.places.append(Place((giver,), "output") if giver is not None else Place(tuple(takers or ()), "input"))
        return self.numbers[key]

    def _follow(self, call: _Call) -> _Key:
        """Return what comes out of the batch norm and the ReLU right after a convolution that nothing else reads."""
        end = call.output
        for functions in (_NORMS, _CLIPS):
            following = self.readers.get(end, [])
            if len(following) == 1 and following[0].function in functions and following[0].inputs[0] == end:
                end = following[0].output
        return end


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
