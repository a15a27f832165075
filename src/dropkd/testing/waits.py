"""Find where a step would make the processor wait for a GPU; there need not be one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dropkd.contracts import Batch
from dropkd.methods.method import Method
from dropkd.methods.options import check_options
from dropkd.testing.bench import EPOCHS, Bench
from dropkd.testing.gradients import go_back

__all__ = ["Wait", "find_waits", "record_waits"]

# Tensors without numbers: whoever asks for one can't get it, as on a GPU that has not come so far yet.
_DEVICE = "meta"
# How many rows these give, or what they return, hangs on numbers.
_ASKING = frozenset({
    "_linalg_check_errors", "_local_scalar_dense", "_unique", "_unique2", "allclose", "bincount", "equal", "histc",
    "is_nonzero", "masked_select", "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim",
    "unique_dim_consecutive",
})  # fmt: skip
_INDEXING = frozenset({"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"})
_MAKING = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
_READING = (Tensor.numpy, Tensor.__array__)
_OF_TORCH = str(Path(torch.__file__).parent)


class Wait(NamedTuple):
    """A place where the processor waits for the GPU.

    Args:
        what: what waits there, such as ``a number is read (item)``.
        where: file and line, ``kd.py:12``; of a backward pass, those of its start.
    """

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class _CannotGoOnError(Exception):
    """What comes next hangs on numbers that are not there."""


def find_waits(cls: type[Method], options: Mapping[str, Any] | None = None) -> list[Wait]:
    """Return where a method's step would make the processor wait for a GPU, forwards and backwards.

    A step that waits is right, but nothing can be queued meanwhile: the GPU idles after each such place. Looked at are
    the steps of three epochs after a first step with real numbers, in which a method may look at what it is given.

    Args:
        cls: the class.
        options: values for some of its options; the others keep their defaults.

    Returns:
        The places, each once. After one that no made-up number can stand in for (``nonzero``, a boolean index) what
        follows it in that step is not seen.

    Raises:
        ConfigError: the class has no such option, or it can't have that value.

    Example:
        >>> from dropkd.methods.kd import KD
        >>> find_waits(KD)
        []
    """
    bench = Bench(cls, check_options(cls, cls.__name__, options or {}))
    found: list[Wait] = []
    with torch.random.fork_rng(devices=[]):
        for epoch in EPOCHS:
            method = bench.build()
            go_back(bench.call(method, epoch=epoch))
            method.end_epoch(epoch)
            method.zero_grad(set_to_none=True)
            method.to(_DEVICE)
            teacher, batch = bench.teacher(method), bench.batch(method)
            there = bench.student(method).apply(_move), None if teacher is None else teacher.apply(_move)
            batch = Batch(batch.target.to(_DEVICE), batch.index.to(_DEVICE), epoch + 1)
            with record_waits() as waits:
                go_back(method(*there, batch))
            found += waits
    return list(dict.fromkeys(found))


@contextmanager
def record_waits() -> Iterator[list[Wait]]:
    """Record where the code inside would wait for a GPU, for which tensors on the device ``meta`` stand.

    Numbers that it asks for are made up (0, False, two tensors are equal). Where that is no use the code is left at
    that place.

    Returns:
        The places so far, in order; read them afterwards.
    """
    waits: list[Wait] = []
    with _Calls(waits), _Operations(waits), suppress(_CannotGoOnError):
        yield waits


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation, of the backward pass too."""

    def __init__(self, waits: list[Wait]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        what = _find_wait(func, args, kwargs)
        if what is not None:
            self.waits.append(Wait(what, _find_place()))
            return _make_up(func, args, kwargs)
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Sees calls that copy numbers to the device, or read them, below the operations."""

    def __init__(self, waits: list[Wait]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _READING and args[0].is_meta:
            self.waits.append(Wait("numbers are read (numpy)", _find_place()))
            return func(torch.zeros_like(args[0], device="cpu"), *args[1:], **kwargs)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].is_meta and _holds_list(args[1]):
            self.waits.append(Wait("an index is copied to the device (a list)", _find_place()))
        result = func(*args, **kwargs)
        if func in _MAKING and result.is_meta and not _is_there(kwargs.get("data", args[-1] if args else None)):
            self.waits.append(Wait(f"numbers are copied to the device ({func.__name__})", _find_place()))
        return result


def _find_wait(func: Any, args: Any, kwargs: dict[str, Any]) -> str | None:
    """Return what an operation would wait for, or None."""
    name = func.overloadpacket.__name__
    there = [_is_there(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if name in ("_to_copy", "copy_"):
        return _find_copy(name, args, kwargs)
    if not any(there):
        return None
    if name in _ASKING and not (name == "repeat_interleave" and kwargs.get("output_size") is not None):
        return {"_local_scalar_dense": "a number is read (item)"}.get(name, f"numbers are read ({name})")
    if name in _INDEXING:
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "numbers are read (a boolean index)"
        if any(not _is_there(index) for index in indices):
            return "an index is copied to the device"
    return None


def _find_copy(name: str, args: Any, kwargs: dict[str, Any]) -> str | None:
    if name == "_to_copy":
        source, waits = args[0], not kwargs.get("non_blocking")
        target = kwargs.get("device") or source.device
    else:
        source, target = args[1], args[0].device
        waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    goes, comes = torch.device(target).type == _DEVICE, _is_there(source)
    if comes and not goes:
        # Even one that does not block is read at once.
        return "numbers are read (a copy to the CPU)"
    return "numbers are copied to the device (not non_blocking)" if goes and not comes and waits else None


def _make_up(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return what stands in for an answer that hangs on numbers."""
    name = func.overloadpacket.__name__
    if name == "_local_scalar_dense":
        return torch.zeros((), dtype=args[0].dtype).item()
    if name in ("equal", "allclose"):
        return True
    if name == "_to_copy" and _is_there(args[0]):
        return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
    if name == "copy_" and _is_there(args[1]):
        return args[0]
    if name in _ASKING | {"index", "_unsafe_index"}:
        try:
            return func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            raise _CannotGoOnError from error
    return func(*args, **kwargs)


def _is_there(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _holds_list(index: object) -> bool:
    places = index if isinstance(index, tuple) else (index,)
    return any(isinstance(place, list) for place in places)


def _find_place() -> str:
    """Return file and line of the innermost caller that is neither torch nor this file."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith((_OF_TORCH, "<")):
            return f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def _move(values: Tensor) -> Tensor:
    return torch.empty_like(values, device=_DEVICE).requires_grad_(values.requires_grad)
