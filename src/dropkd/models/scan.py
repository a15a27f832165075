"""One watched pass through an unknown model: where its resolution changes, what may be its classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Scan", "scan_modules"]

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Scan:
    """What the watched pass saw.

    Args:
        map_modules: the modules that give the last map of each resolution, shallow to deep.
        classifiers: linear layers and convolutions in the order they ran, with the width of their outputs.
        output: what the model answered.
    """

    map_modules: tuple[str, ...]
    classifiers: tuple[tuple[str, int], ...]
    output: Any


@dataclass(frozen=True)
class _Call:
    """One module's turn in the pass; sizes are (H, W), None for what is not (B, C, H, W)."""

    name: str
    module: nn.Module
    size_in: tuple[int, int] | None
    size_out: tuple[int, int] | None


def scan_modules(model: nn.Module, image: Tensor) -> Scan:
    """Run the model once on ``image`` (1, 3, H, W), watch each module, and return what was seen."""
    calls: list[_Call] = []

    def watch(name: str, module: nn.Module) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            calls.append(_Call(name, module, _measure(args[0] if args else None), _measure(output)))

        return module.register_forward_hook(note)

    handles = [watch(name, module) for name, module in model.named_modules() if name]
    try:
        output = model(image)
    finally:
        for handle in handles:
            handle.remove()
    widths = [(call.name, _width_of(call.module)) for call in calls]
    classifiers = tuple((name, width) for name, width in widths if width is not None)
    return Scan(_find_last_maps(calls), classifiers, output)


def _find_last_maps(calls: list[_Call]) -> tuple[str, ...]:
    """Return the last module of each resolution on the way through the model.

    A module that lowers the resolution once is one step, whatever happens inside it; one that lowers it more
    often is a chain of steps. The way ends where positions are pooled to one.
    """
    steps = {call.name for call in calls if _is_one_step(call)}
    last: dict[tuple[int, int], str] = {}
    for call in calls:
        if call.size_out is None or _is_inside(call.name, steps):
            continue
        if call.size_out == (1, 1) and (
            isinstance(call.module, _POOLS) or max(next(reversed(last), (0, 0))) > 2
        ):
            break
        last.pop(call.size_out, None)
        last[call.size_out] = call.name
    return tuple(last.values())


def _is_one_step(call: _Call) -> bool:
    """Tell whether the module keeps the resolution or lowers it once, by half at most."""
    if call.size_in is None or call.size_out is None:
        return False
    return call.size_out[0] * 3 > call.size_in[0] and call.size_out[1] * 3 > call.size_in[1]


def _is_inside(name: str, steps: set[str]) -> bool:
    """Tell whether one of the modules around ``name`` is a step."""
    parts = name.split(".")
    return any(".".join(parts[:depth]) in steps for depth in range(1, len(parts)))


def _measure(value: Any) -> tuple[int, int] | None:
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.shape[2], value.shape[3]
    return None


def _width_of(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    return None
