"""What a benchmark printed, kept with the machine, the versions and the commit that it belongs to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_machine", "keep"]

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow")
_RESULTS = Path(__file__).parent / "results"


def describe_machine(device: torch.device | None = None) -> dict[str, Any]:
    """Return the machine, the versions and the commit, for the head of a document."""
    on_gpu = device is not None and device.type == "cuda"
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _read_commit(),
        "processor": _read_processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 1) for value in os.getloadavg()],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "python": platform.python_version(),
        **{name: _find_version(name) for name in _LIBRARIES},
    }


def keep(name: str, document: Mapping[str, Any]) -> Path:
    """Write a benchmark's document to ``results/NAME.json`` and return the file."""
    _RESULTS.mkdir(exist_ok=True)
    file = _RESULTS / f"{name}.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    return file


def _read_commit() -> str | None:
    """Return the commit, marked where the working tree differs from it; None outside a repository."""
    command = ["git", "-C", str(_RESULTS.parent), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _read_processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
