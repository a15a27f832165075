"""The last activation of each map: what goes into it, and the batch norm right before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dropkd.contracts import Outputs
from dropkd.errors import ModelError
from dropkd.models.taps import TappedTaps, Taps

__all__ = ["LastActivations", "find_last_activations"]

# Where the activations of torch and of timm are defined; a user's own may be a subclass of one.
_HOMES = ("torch.nn.modules.activation", "timm.layers.activations")
# Of the same file, but no functions of one value each.
_NO_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmin, nn.Softmax, nn.Softmax2d, nn.LogSoftmax)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
# Names that the branch beside a block has in timm and torchvision.
_SHORTCUTS = ("downsample", "shortcut", "skip")


@dataclass(frozen=True)
class _Activation:
    """An activation's turn in a pass.

    Args:
        module: its name.
        number: which of the module's turns it is, counted from 0.
        norm: name of the batch norm right before it, or None.
    """

    module: str
    number: int
    norm: str | None


@dataclass(frozen=True)
class _Result:
    """What an activation gave, as it was at that time."""

    activation: _Activation
    output: Tensor
    version: int


class LastActivations:
    """Reads the maps before their last activation; holds names and numbers, never the model.

    Args:
        activations: for each map the activation that gives it, or None where it is no activation's output.
    """

    def __init__(self, activations: Sequence[_Activation | None]) -> None:
        self.activations = tuple(activations)

    # Hooks that come and go make torch.compile start over at each step; such a pass runs as it is.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def read(self, taps: Taps, model: nn.Module, pixels: Tensor) -> Outputs:
        """Run the model once and return its answer with the maps and what they were before their last activation.

        Raises:
            ModelError: the model took another way than when it was first run.
        """
        found: dict[tuple[str, int], Tensor] = {}
        wanted = [(a.module, a.number) for a in self.activations if a is not None]
        names = {name for name, _ in wanted}
        handles = [
            model.get_submodule(name).register_forward_pre_hook(_keep_inputs(name, wanted, found)) for name in names
        ]
        try:
            answer = taps.read(model, pixels, maps=True)
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name, number in wanted if (name, number) not in found]
        if missing:
            raise ModelError(
                f"The activation {missing[0]!r} was not called as often as in the network's first pass, so the maps "
                "before it are not known. Choose other map_modules, or a method that does not read them."
            )
        before = zip(self.activations, answer.maps, strict=True)
        return answer._replace(preactivations=tuple(m if a is None else found[a.module, a.number] for a, m in before))

    def read_norms(self, model: nn.Module) -> tuple[tuple[Tensor, Tensor] | None, ...]:
        """Return for each map the weight and bias (C,) of the batch norm before its last activation, or None."""
        return tuple(None if a is None else _read_norm(model, a.norm) for a in self.activations)


def find_last_activations(
    model: nn.Module, taps: Taps, image: Tensor, shapes: Collection[tuple[int, ...]]
) -> LastActivations:
    """Run the model once, watch its activations and batch norms, and return which of them give its maps.

    Only modules are seen: a map that ends in a function such as ``torch.relu`` stands for itself. A model of dropkd's
    own whose maps end in none may say which activation comes next, by a method ``next_activations``.

    Args:
        model: in evaluation mode.
        taps: of the model.
        image: (1, 3, H, W), normalised, of the size that the model is fed.
        shapes: (C, H, W) of the maps.
    """
    if isinstance(taps, TappedTaps) and hasattr(model, "next_activations"):
        named: Any = model
        return LastActivations([_Activation(activation, 0, norm) for activation, norm in named.next_activations()])
    watch = _Watch(model, shapes)
    try:
        maps = taps.read(model, image, maps=True).maps
    finally:
        watch.stop()
    return LastActivations([watch.find(m) for m in maps])


class _Watch:
    """Notes the turns of a model's activations, and which batch norm came right before each."""

    def __init__(self, model: nn.Module, shapes: Collection[tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._modules = dict(model.named_modules())
        self._turns: Counter[str] = Counter()
        self._results: list[_Result] = []
        # Name and output of each batch norm since the last activation, and the name of that before the one at work.
        self._norms: list[tuple[str, Tensor]] = []
        self._norm: str | None = None
        self._handles: list[RemovableHandle] = []
        for name, module in self._modules.items():
            if _is_activation(module):
                self._handles.append(module.register_forward_pre_hook(self._begin(name)))
                self._handles.append(module.register_forward_hook(self._end(name)))
            # A norm that ends in an activation comes before no other one.
            elif isinstance(module, _NORMS) and not any(_is_activation(m) for m in module.modules()):
                self._handles.append(module.register_forward_hook(self._pass_norm(name)))

    def stop(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def find(self, feature_map: Tensor) -> _Activation | None:
        """Return the activation whose output the map is, unchanged since."""
        for result in reversed(self._results):
            if result.output is feature_map and result.version == feature_map._version:
                return result.activation
        return None

    def _pass_norm(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(module: nn.Module, args: Any, output: Tensor) -> None:
            self._norms.append((name, output))

        return note

    def _begin(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, args: Any) -> None:
            self._norm = self._choose_norm(name, args[0])
            self._norms.clear()

        return note

    def _end(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(module: nn.Module, args: Any, output: Tensor) -> None:
            number = self._turns[name]
            self._turns[name] += 1
            if tuple(output.shape[1:]) in self._shapes and output.shape == args[0].shape:
                self._results.append(_Result(_Activation(name, number, self._norm), output, output._version))

        return note

    def _choose_norm(self, activation: str, before: Tensor) -> str | None:
        """Return the batch norm right before an activation, that of the block rather than that of its shortcut.

        Args:
            activation: its name.
            before: what it is given.
        """
        parent = activation.rpartition(".")[0]
        if isinstance(self._modules[parent], _NORMS):
            return parent
        norms = [(name, output) for name, output in self._norms if output.shape[1] == before.shape[1]]
        for name, output in norms:
            if output is before:
                return name
        beside = [name for name, _ in norms if name.rpartition(".")[0] == parent]
        others = [name for name, _ in norms if not any(part in _SHORTCUTS for part in name.split("."))]
        return next(reversed(beside or others), None)


def _is_activation(module: nn.Module) -> bool:
    if isinstance(module, _NO_ACTIVATIONS) or any(True for _ in module.children()):
        return False
    return any(kind.__module__.startswith(_HOMES) for kind in type(module).__mro__)


def _keep_inputs(
    name: str, wanted: Collection[tuple[str, int]], found: dict[tuple[str, int], Tensor]
) -> Callable[[nn.Module, Any], None]:
    turns = count()

    def keep(module: nn.Module, args: Any) -> None:
        turn = (name, next(turns))
        if turn in wanted:
            # It is about to be overwritten.
            found[turn] = args[0].clone() if getattr(module, "inplace", False) else args[0]

    return keep


def _read_norm(model: nn.Module, name: str | None) -> tuple[Tensor, Tensor] | None:
    if name is None:
        return None
    norm = model.get_submodule(name)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    return None if weight is None or bias is None else (weight.detach(), bias.detach())
