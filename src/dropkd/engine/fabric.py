"""The one place that knows Lightning Fabric: device, precision, and the wrapping of module and optimiser."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dropkd.errors import ConfigError


@contextmanager
def _hide(library: str) -> Iterator[None]:
    """Let a library that is not loaded yet seem not to be installed."""
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[library]


# Lightning asks for the version of torchmetrics by loading it, with SciPy, matplotlib and transformers behind it: two
# seconds and 100 MiB at each start, for a part of Lightning that is not used here.
with _hide("torchmetrics"):
    from lightning_fabric import Fabric
    from lightning_fabric.utilities import imports as _lightning

# Whoever uses that part beside dropkd must find it as it was.
_lightning._TORCHMETRICS_GREATER_EQUAL_1_0_0 = True

__all__ = ["Fabric", "choose_device", "computes_in_float32", "make_fabric"]

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def choose_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` stands for.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}. Known: auto, cpu, cuda, cuda:0, mps.") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"{count} CUDA device{'s' if count != 1 else ''}" if count else "no CUDA device"
            raise ConfigError(
                f"--device {name} was asked for, but PyTorch sees {found} here. Use --device cpu or auto."
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "--device mps was asked for, but PyTorch sees no Metal device here. Use --device cpu or auto."
        )
    elif device.type not in ("cpu", "mps"):
        raise ConfigError(f"unknown device {name!r}. Known: auto, cpu, cuda, cuda:0, mps.")
    return device


def make_fabric(device: torch.device, precision: str) -> Fabric:
    """Return a Fabric for one device.

    Args:
        device: where to train.
        precision: ``auto`` (bfloat16 mixed where a CUDA device has it, else float32), ``32``, ``bf16`` or ``16``.

    Raises:
        ConfigError: float16 on the CPU.
    """
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "32"
    if precision == "16" and device.type == "cpu":
        raise ConfigError("training.precision: 16 needs a GPU. On the CPU use bf16 or 32.")
    devices: list[int] | int = [device.index or 0] if device.type == "cuda" else 1
    with warnings.catch_warnings():
        # Fabric advises on tensor cores and interconnects whenever it is made; that is no news for our users.
        warnings.simplefilter("ignore")
        return Fabric(accelerator=device.type, devices=devices, precision=_PRECISIONS[precision])  # type: ignore[arg-type]


def computes_in_float32(fabric: Fabric) -> bool:
    """Return whether a network's answers are the same inside :meth:`Fabric.autocast` and outside."""
    return str(fabric._precision.precision) == _PRECISIONS["32"]
