"""Networks that compute as their int8 file will: rounded inputs, results and weights, with gradients that pass through.

Weights stay in full precision where they are kept and trained; what a layer multiplies by is their rounded value. The
scale of a weight is that of an output channel, so a batch norm that is folded into a convolution afterwards multiplies
scale and weight by the same number, and the grid stays the same. That is why no batch norm has to be folded beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn

from dropkd.models.network import Network
from dropkd.models.rounding_places import Place, RoundedLayer, RoundingPlan

__all__ = ["Rounding", "Roundings", "round_network", "unround_network"]

_LEVELS = 255
# The share of a new batch in the running ends of a range.
_MOMENTUM = 0.05


class Rounding(nn.Module):
    """Rounds to 256 levels between two ends, which need not lie even about 0; gradients pass where nothing was cut off.

    Attributes:
        is_on: whether it does anything.
        is_watching: whether it follows the lowest and highest values of the batches, in training mode.
    """

    low: Tensor
    high: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.is_on, self.is_watching = False, False

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, rounded."""
        if not self.is_on:
            return values
        # In half precision the levels would be rounded themselves.
        exact = values.float()
        if self.is_watching and self.training:
            self._watch(exact.detach())
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        step = ((high - low) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        zero = torch.round(-low / step).clamp(0, _LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(exact, step, zero, 0, _LEVELS).to(values.dtype)

    @torch.no_grad()
    def _watch(self, values: Tensor) -> None:
        low, high = values.aminmax()
        # No branch on a value: that would wait for a GPU.
        is_first = self.batches == 0
        for end, seen in ((self.low, low), (self.high, high)):
            end.copy_(torch.where(is_first, seen, end + _MOMENTUM * (seen - end)))
        self.batches += 1


class _Turns:
    """What is rounded at each turn that a module has in a pass; its methods are the module's hooks.

    Methods of an object, unlike functions, are copied with the network that they are hooks of.

    Args:
        calls: how many turns there are.
    """

    def __init__(self, calls: int) -> None:
        self.roundings: list[Rounding | None] = [None] * calls
        self.done = 0

    def round_output(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Take the place of the module's output."""
        return self._round(output)

    def round_input(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the place of the module's first argument."""
        return (self._round(args[0]), *args[1:])

    def _round(self, values: Tensor) -> Tensor:
        rounding = self.roundings[self.done % len(self.roundings)]
        self.done += 1
        return values if rounding is None else cast(Tensor, rounding(values))


class Roundings(nn.Module):
    """All that is rounded in a network; what each learns is a buffer, and part of a checkpoint.

    Args:
        plan: what is rounded.
        weight_bits: bits of a weight.
    """

    def __init__(self, plan: RoundingPlan, weight_bits: int) -> None:
        super().__init__()
        self.plan, self.weight_bits = plan, weight_bits
        self.places = nn.ModuleList(Rounding() for _ in plan.places)
        self.turns: dict[tuple[str, str], _Turns] = {}
        for place, held in zip(plan.places, self._held(), strict=True):
            for name, turn in place.turns:
                self.turns.setdefault((name, place.side), _Turns(plan.calls[name])).roundings[turn] = held

    def restart(self, network: nn.Module, args: Any) -> None:
        """Count the turns anew, before each pass: the one before may have been broken off."""
        for turns in self.turns.values():
            turns.done = 0

    def describe(self) -> dict[str, Any]:
        """Return what is rounded, and between which ends, as JSON values."""
        return {
            "weight_bits": self.weight_bits,
            "calls": self.plan.calls,
            "layers": [asdict(layer) for layer in self.plan.layers],
            "places": [
                {"turns": place.turns, "side": place.side, "low": float(held.low), "high": float(held.high)}
                for place, held in zip(self.plan.places, self._held(), strict=True)
            ],
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Roundings:
        """Return what :meth:`describe` told of."""
        places = tuple(
            Place(tuple((name, turn) for name, turn in place["turns"]), place["side"]) for place in described["places"]
        )
        layers = tuple(RoundedLayer(**layer) for layer in described["layers"])
        made = cls(RoundingPlan(places, layers, dict(described["calls"])), described["weight_bits"])
        made.read_ends(described)
        return made

    def read_ends(self, described: Mapping[str, Any]) -> None:
        """Take over the ends that :meth:`describe` told of."""
        for held, place in zip(self._held(), described["places"], strict=True):
            held.low.fill_(place["low"])
            held.high.fill_(place["high"])
            held.batches.fill_(1)

    def ranges(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Return by layer the ends of its ``input`` and, for convolutions, of its ``output``."""
        ends = [(float(held.low), float(held.high)) for held in self._held()]
        return {
            layer.name: {
                side: ends[number]
                for side, number in (("input", layer.input), ("output", layer.output))
                if number is not None
            }
            for layer in self.plan.layers
        }

    def switch(self, model: nn.Module, *, is_on: bool, is_watching: bool = False) -> None:
        """Turn rounding on or off in a model that these belong to."""
        for held in self._held():
            held.is_on, held.is_watching = is_on, is_watching
        for layer in self.plan.layers:
            model.get_submodule(layer.name).is_rounded = is_on  # type: ignore[assignment]

    @property
    def is_on(self) -> bool:
        """Whether anything is rounded."""
        return any(held.is_on for held in self._held())

    def _held(self) -> Iterator[Rounding]:
        return (cast(Rounding, place) for place in self.places)


def round_network(network: Network, roundings: Roundings) -> None:
    """Make a network's layers round by these; it has the same parameters afterwards, by the same names.

    They are off at first, see :meth:`Roundings.switch`.
    """
    model = network.model
    roundings.to(next(model.parameters()).device)
    network.roundings = roundings
    for layer in roundings.plan.layers:
        module = model.get_submodule(layer.name)
        module.is_rounded, module.weight_bits = False, roundings.weight_bits  # type: ignore[assignment]
        module.__class__ = _with_rounded_weight(type(module))
    network.register_forward_pre_hook(roundings.restart)
    for (name, side), turns in roundings.turns.items():
        if side == "output":
            model.get_submodule(name).register_forward_hook(turns.round_output)
        else:
            model.get_submodule(name).register_forward_pre_hook(turns.round_input)


def unround_network(network: Network) -> None:
    """Make a network plain again; it keeps its weights."""
    if network.roundings is None:
        return
    model = network.model
    for layer in network.roundings.plan.layers:
        module = model.get_submodule(layer.name)
        module.__class__ = type(module).__mro__[1]
        del module.is_rounded, module.weight_bits
    for module in network.modules():
        held: tuple[dict[int, Any], ...] = (module._forward_hooks, module._forward_pre_hooks)
        for hooks in held:
            for number in [n for n, hook in hooks.items() if isinstance(_owner(hook), (_Turns, Roundings))]:
                del hooks[number]
    network.roundings = None


def _owner(hook: Any) -> object:
    return getattr(hook, "__self__", None)


def _with_rounded_weight(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a module's class whose ``weight`` is read rounded.

    ``torch.nn.utils.parametrize`` does the same, but moves the parameter to another name: then files of weights,
    optimisers and patterns of names would no longer fit.
    """
    return type(kind.__name__, (kind,), {"weight": property(_read_weight), "__module__": kind.__module__})


def _read_weight(module: nn.Module) -> Tensor:
    weight = cast(Tensor, module._parameters["weight"])
    return _round_weight(weight, cast(int, module.weight_bits)) if module.is_rounded else weight


def _round_weight(weight: Tensor, bits: int) -> Tensor:
    """Return a weight (K, ...) rounded within its bits, with a scale for each of its K channels."""
    top = 2 ** (bits - 1) - 1
    largest = weight.detach().abs().flatten(1).amax(1).float()
    scale = torch.where(largest > 0, largest, 1) / top
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)
