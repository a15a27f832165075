"""Distillation methods, one a file. The package itself loads no torch, its names do when they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropkd.methods.method import Method
    from dropkd.methods.options import Option
    from dropkd.methods.registry import build_method, method_class, method_names, method_options

__all__ = ["Method", "Option", "build_method", "method_class", "method_names", "method_options"]

_HOMES = {"Method": "method", "Option": "options"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'registry')}"), name)
