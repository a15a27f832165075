"""Small, fast vision models that learned from big ones.

Every public name is imported when it is first used, so ``import dropkd`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropkd import data, functional, methods, metrics, models
    from dropkd.api import distill, evaluate, resume, train
    from dropkd.comparing import compare
    from dropkd.config import Config, load_config
    from dropkd.costing import measure_costs
    from dropkd.data.check import check_data
    from dropkd.engine.distiller import Distiller
    from dropkd.engine.observer import Observer
    from dropkd.errors import DropKDError
    from dropkd.export import Int8, export_int8, export_run
    from dropkd.group import RunGroup
    from dropkd.many import distill_many, resume_many
    from dropkd.models import create_model, load_weights
    from dropkd.overlays import explain
    from dropkd.run import Run
    from dropkd.sharing import load, push_run

__all__ = [
    "Config",
    "Distiller",
    "DropKDError",
    "Int8",
    "Observer",
    "Run",
    "RunGroup",
    "check_data",
    "compare",
    "create_model",
    "data",
    "distill",
    "distill_many",
    "evaluate",
    "explain",
    "export_int8",
    "export_run",
    "functional",
    "load",
    "load_config",
    "load_weights",
    "measure_costs",
    "methods",
    "metrics",
    "models",
    "push_run",
    "resume",
    "resume_many",
    "train",
]

try:
    __version__ = version("dropkd")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "Config": "dropkd.config",
    "Distiller": "dropkd.engine.distiller",
    "DropKDError": "dropkd.errors",
    "Int8": "dropkd.export",
    "Observer": "dropkd.engine.observer",
    "Run": "dropkd.run",
    "RunGroup": "dropkd.group",
    "check_data": "dropkd.data.check",
    "compare": "dropkd.comparing",
    "create_model": "dropkd.models",
    "distill": "dropkd.api",
    "distill_many": "dropkd.many",
    "evaluate": "dropkd.api",
    "explain": "dropkd.overlays",
    "export_int8": "dropkd.export",
    "export_run": "dropkd.export",
    "load": "dropkd.sharing",
    "load_config": "dropkd.config",
    "load_weights": "dropkd.models",
    "measure_costs": "dropkd.costing",
    "push_run": "dropkd.sharing",
    "resume": "dropkd.api",
    "resume_many": "dropkd.many",
    "train": "dropkd.api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dropkd' has no attribute {name!r}")
    try:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        return import_module(f"dropkd.{name}")
    except ModuleNotFoundError as error:
        from dropkd.extras import explain_missing

        missing = explain_missing(error)
        if missing is None:
            raise
        raise missing from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
