"""Clauses about what a method holds: its state, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dropkd.contracts import Pair
from dropkd.methods.method import Method
from dropkd.testing.bench import Bench

__all__ = ["check_holdings", "check_repeatability", "check_state"]

_MODEL_LIBRARIES = ("timm.models", "torchvision.models", "transformers", "dropkd.models")
# What every module has of its own.
_OWN = frozenset(vars(nn.Module()))


class _Hidden(NamedTuple):
    """Something that a module holds without having registered it."""

    path: str
    holder: str
    value: object


def check_state(bench: Bench) -> Iterator[str]:
    """Saving and restoring its state."""
    method, other = bench.build(seed=0), bench.build(seed=1)
    names = list(method.state_dict())
    for epoch in range(2):
        bench.call(method, seed=epoch, epoch=epoch)
        method.end_epoch(epoch)
    added = [name for name in method.state_dict() if name not in names]
    if added:
        yield f"training adds {', '.join(map(repr, added))} to its state: make it in the constructor, from the pair"
        return
    other.load_state_dict(method.state_dict())
    alike = _are_equal(bench.call(method, epoch=2), bench.call(other, epoch=2))
    if not alike or not _are_equal(method.state_dict(), other.state_dict()):
        yield "its state dict does not restore it: keep what it learns and remembers in parameters and buffers"


def check_repeatability(bench: Bench) -> Iterator[str]:
    """Its random numbers."""
    first, second = (bench.call(bench.build(), seed=3) for _ in range(2))
    if not _are_equal(first, second):
        yield (
            "with the same seed it gives other values: draw random numbers from torch, not from random or numpy, "
            "which a resumed run would not draw again"
        )
    states = []
    for seed in (4, 5):
        bench.call(bench.build(), seed=seed)
        states.append(torch.get_rng_state())
    if torch.equal(*states):
        yield "it seeds torch's generator, which is the engine's to do"


def _are_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def check_holdings(bench: Bench) -> Iterator[str]:
    """What it holds."""
    method = bench.build()
    yield from _find_models(method)
    before = _list_hidden(method)
    yield from (_describe(hidden) for hidden in before)
    registered = {**dict(method.named_buffers()), **dict(method.named_parameters())}
    bench.call(method)
    method.end_epoch(1)
    known = {hidden.path for hidden in before}
    for hidden in _list_hidden(method):
        if hidden.path not in known:
            yield f"{_describe(hidden)}; after a step it keeps nothing of the networks' answers but what a buffer holds"
    for name, tensor in (*method.named_buffers(), *method.named_parameters()):
        if registered.get(name, tensor) is not tensor:
            yield (
                f"training replaces {name!r} by a new tensor: change it in place (copy_), since data-parallel training "
                "keeps the first one alike in all processes"
            )
    for name, tensor in method.named_buffers():
        if tensor.requires_grad:
            yield f"the buffer {name!r} keeps a graph: detach what it remembers"


def _find_models(method: Method) -> Iterator[str]:
    for name, module in method.named_modules():
        if _is_model(module):
            yield f"it holds a model ({name!r} is a {type(module).__name__}); it may own projectors only"


def _is_model(module: nn.Module) -> bool:
    reads_images = isinstance(module, nn.Conv2d) and module.in_channels == 3
    return reads_images or type(module).__module__.startswith(_MODEL_LIBRARIES)


def _list_hidden(method: Method) -> list[_Hidden]:
    """Return the modules and tensors in attributes of the method and of its modules that are not registered."""
    registered = {id(item) for item in (*method.modules(), *method.parameters(), *method.buffers())}
    found = []
    for prefix, module in method.named_modules():
        for name, value in vars(module).items():
            if name in _OWN:
                continue
            path = f"{prefix}.{name}" if prefix else name
            hidden = (item for item in _unpack(value, {id(module)}) if id(item) not in registered)
            found += [_Hidden(path, type(value).__name__, item) for item in hidden]
    return found


def _unpack(value: object, seen: set[int]) -> Iterator[object]:
    """Yield the modules and tensors in a value, however deep in containers and plain objects."""
    if id(value) in seen or isinstance(value, (Pair, type)):
        return
    seen.add(id(value))
    if isinstance(value, (nn.Module, Tensor)):
        yield value
    elif isinstance(value, Mapping):
        for part in list(value.values()):
            yield from _unpack(part, seen)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from _unpack(part, seen)
    elif type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
        for part in list(vars(value).values()):
            yield from _unpack(part, seen)


def _describe(hidden: _Hidden) -> str:
    value, kind = hidden.value, type(hidden.value).__name__
    if isinstance(value, nn.Module) and any(map(_is_model, value.modules())):
        return f"it holds a model ({hidden.path!r} hides a {kind} in a {hidden.holder}); it may own projectors only"
    if isinstance(value, (nn.Module, nn.Parameter)):
        words = f"hides a {kind} in a {hidden.holder}, so that it is not trained or saved"
        return f"{hidden.path!r} {words}: register it (nn.ModuleList, nn.ModuleDict, nn.ParameterList)"
    where = "" if hidden.holder == kind else f" in its {hidden.holder}"
    words = f"holds a {kind}{where}, which is not saved and stays behind when the method moves to another device"
    return f"{hidden.path!r} {words}: register it as a buffer"
