"""One watched pass through an unknown model: where its resolution changes, and which layer is its classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dropkd.models.hooks import find_logits

__all__ = ["Scan", "scan_modules"]

# A map with sides of more than this share of the last one's is of the same level: convolutions without
# padding shave off a few pixels.
_SAME_LEVEL = 0.7


@dataclass(frozen=True)
class Scan:
    """What the watched pass saw.

    Args:
        map_modules: the modules that give the last map of each resolution, shallow to deep.
        classifier: the last linear layer or convolution that gives one value a class, or None.
        logits: number of logits.
    """

    map_modules: tuple[str, ...]
    classifier: str | None
    logits: int


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
    logits = find_logits(output).shape[1]
    ends = [number for number, call in enumerate(calls) if _width_of(call.module) == logits]
    classifier = calls[ends[-1]].name if ends else None
    return Scan(_find_last_maps(calls[: ends[-1]] if ends else calls, calls), classifier, logits)


def _find_last_maps(calls: list[_Call], all_calls: list[_Call]) -> tuple[str, ...]:
    """Return the last module of each resolution on the way to the classifier.

    A module that lowers the resolution once is one step, whatever happens inside it; one that lowers it more
    often is a chain of steps. The way ends where positions are pooled for the classifier.
    """
    steps = {call.name for call in all_calls if _is_one_step(call)}
    levels: list[tuple[str, int]] = []
    for call in calls:
        if call.size_out is None or _is_inside(call.name, steps):
            continue
        side = max(call.size_out)
        if _is_final_pooling(call, levels):
            break
        if levels and side > _SAME_LEVEL * levels[-1][1]:
            levels.pop()
        levels.append((call.name, side))
    return tuple(name for name, _ in levels)


def _is_final_pooling(call: _Call, levels: list[tuple[str, int]]) -> bool:
    """Tell whether positions end here: by an adaptive pooling, or because several became one."""
    if isinstance(call.module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return True
    return call.size_out == (1, 1) and bool(levels) and levels[-1][1] > 2


def _is_one_step(call: _Call) -> bool:
    """Tell whether the module keeps the resolution or lowers it once, by half or so."""
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
    return module.out_channels if isinstance(module, nn.Conv2d) else None
