"""Losses are computed in float32 or better, whatever precision the networks run in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision", "without_autocast"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function of tensors compute in float32 where it is handed less, with autocast off inside it.

    Under autocast, matrix products would go back to half precision even for float32 arguments; float64 stays
    float64.

    Example:
        >>> @full_precision
        ... def total(values):
        ...     return values.sum()
        >>> total(torch.ones(3, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    @functools.wraps(function)
    def widened(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        devices = {device for value in (*args, *kwargs.values()) for device in _list_devices(value)}
        device = next(iter(sorted(devices)), "cpu")
        with without_autocast(device):
            return function(*(_widen(a) for a in args), **{name: _widen(a) for name, a in kwargs.items()})

    return widened


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a context in which autocast is off on a kind of device, which may be one that knows no autocast."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _list_devices(value: object) -> list[str]:
    if isinstance(value, Tensor):
        return [value.device.type]
    if isinstance(value, (list, tuple)):
        return [device for item in value for device in _list_devices(item)]
    return []


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named tuple, such as a network's answer
        return value._make(_widen(item) for item in value)
    if isinstance(value, (list, tuple)):
        return type(value)(_widen(item) for item in value)
    return value
