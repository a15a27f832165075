"""The most memory that a network takes, measured in a process that does nothing else.

``python -m dropkd.costing.memory`` is that process: it reads what to open from its input, opens it, answers batches of
growing size, and prints the most memory that it has had after each, by the operating system.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dropkd.costing.subjects import Origin, deploy, open_network_of, open_session
from dropkd.errors import DropKDError, ModelError

__all__ = ["PeakMemory", "measure_peaks", "peak_of_process"]

# A large network is read from the disk, and a slow one answers a large batch.
_PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class PeakMemory:
    """What a process has had of the memory, in bytes.

    Args:
        libraries: before the network was there.
        peaks: the most until each batch size was answered, smallest first.
    """

    libraries: int
    peaks: dict[int, int]


def measure_peaks(
    subject: Origin | Path, batch_sizes: Sequence[int], threads: int, size: tuple[int, int] | None
) -> PeakMemory:
    """Return the most memory that a process takes which opens a network and answers batches.

    Args:
        subject: a network for PyTorch, or an ONNX file for onnxruntime alone.
        batch_sizes: images at a time.
        threads: that compute.
        size: height and width of the images where an ONNX file leaves them open.

    Raises:
        ModelError: the process ended without an answer.
    """
    asked = {
        **({"onnx": str(subject)} if isinstance(subject, Path) else {"origin": asdict(subject)}),
        "batch_sizes": sorted(batch_sizes),
        "threads": threads,
        "size": size,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dropkd.costing.memory"],
            input=json.dumps(asked), capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"Memory was not measured: no answer within {_PATIENCE_SECONDS} s.") from error
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        end = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise ModelError(f"Memory was not measured: the process ended by {end} ({said}).") from error
    if "error" in found:
        raise ModelError(f"Memory was not measured: {found['error']}")
    return PeakMemory(found["libraries"], {int(batch): peak for batch, peak in found["peaks"].items()})


def peak_of_process() -> int:
    """Return the most memory that this process has had, in bytes.

    Raises:
        ModelError: the system does not tell.
    """
    # The other figure of Linux would begin with that of the process that started this one.
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError as error:
        raise ModelError("this system does not tell how much memory a process has had.") from error
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _forget_peak() -> int:
    """Let the peak begin anew, where the system lets it, and return what the process has now, in bytes."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_of_process()


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Open what is asked for, answer batches, and return what that took."""
    libraries, peaks = 0, {}
    if "onnx" in asked:
        import numpy  # noqa: F401  (loaded before the first look at the memory)
        import onnxruntime  # noqa: F401

        libraries = _forget_peak()
        for batch in asked["batch_sizes"]:
            open_session(Path(asked["onnx"]), batch, asked["threads"], asked["size"]).answer()
            peaks[batch] = peak_of_process()
        return {"libraries": libraries, "peaks": peaks}
    import torch

    from dropkd.models import build_network

    torch.set_num_threads(asked["threads"])
    # A small network first: what it loads of libraries is not the other one's.
    import_module("timm")
    deploy(build_network("cifar_resnet8", num_classes=2).eval()).make_call(1, torch.device("cpu"))()
    libraries = _forget_peak()
    deployed = deploy(open_network_of(Origin(**asked["origin"])))
    for batch in asked["batch_sizes"]:
        deployed.make_call(batch, torch.device("cpu"))()
        peaks[batch] = peak_of_process()
    return {"libraries": libraries, "peaks": peaks}


def _main() -> None:
    try:
        found = _answer(json.loads(sys.stdin.read()))
    except (DropKDError, MemoryError, RuntimeError) as error:
        found = {"error": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _main()
