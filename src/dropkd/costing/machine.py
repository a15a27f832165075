"""The machine that something was measured on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["count_cores", "describe_machine", "name_processor"]

_PACKAGES = ("dropkd", "torch", "torchvision", "timm", "onnxruntime", "numpy")


def describe_machine(device_name: str | None = None) -> dict[str, Any]:
    """Return what times and memory depend on beside the network.

    Args:
        device_name: of a GPU that computes, or None.
    """
    return {
        "processor": name_processor(),
        "device": device_name or "cpu",
        "cores": count_cores(),
        # What else the machine had to do: programs that wanted to compute in the minute before.
        "load": _read_load(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _find_version(name)) is not None},
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def name_processor() -> str:
    """Return the name that the processor gives itself, or else its kind."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def count_cores() -> int:
    """Return the cores that this process may use."""
    # Not every system can tell.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_load() -> float | None:
    with suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


def _find_version(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None
