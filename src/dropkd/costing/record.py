"""What was measured, as values that are kept beside a run and shown in reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dropkd.costing.latency import Latency
from dropkd.files import write_text

__all__ = ["FILE", "CostRecord", "Memory", "NetworkCost", "Timing", "read_record"]

# In a run folder.
FILE = "cost.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Timing:
    """How long one batch takes.

    Args:
        runtime: ``torch``, or ``onnxruntime`` for an exported file.
        file: name of that file, or None.
        batch: images in it.
        threads: of the processor that compute.
        latency: in seconds.
    """

    runtime: str
    file: str | None
    batch: int
    threads: int
    latency: Latency

    @property
    def images_per_second(self) -> float:
        """Return how many images are answered in a second at the median."""
        return self.batch / self.latency.p50


@dataclass(frozen=True)
class Memory:
    """The most memory that answering takes, in bytes.

    Args:
        runtime: as of :class:`Timing`.
        file: as of :class:`Timing`.
        batch: images at a time.
        peak: of the whole process from its start on, loading included; on a GPU what PyTorch holds there.
        libraries: of that, what the process had before the network was there. 0 on a GPU.
    """

    runtime: str
    file: str | None
    batch: int
    peak: int
    libraries: int


@dataclass(frozen=True)
class NetworkCost:
    """What one network costs.

    Args:
        name: how tables call it.
        role: ``student``, ``teacher`` or ``network``.
        architecture: name of the model.
        image_size: height and width that it is fed.
        parameters: as trained; None where a file does not tell.
        macs: multiply-adds of one image as trained; None where they can't be seen.
        bytes: of its weights in memory; None where a file does not tell.
        deployed_parameters: after its blocks are fused; equal to ``parameters`` where it has none.
        deployed_macs: the same of the multiply-adds.
        files: bytes of each of its files on the disk.
        timings: one for each runtime, batch size and number of threads.
        memory: one for each runtime and batch size.
        notes: what could not be measured, and why.
    """

    name: str
    role: str
    architecture: str
    image_size: tuple[int, int]
    parameters: int | None
    macs: int | None
    bytes: int | None
    deployed_parameters: int | None
    deployed_macs: int | None
    files: Mapping[str, int]
    timings: tuple[Timing, ...] = ()
    memory: tuple[Memory, ...] = ()
    notes: tuple[str, ...] = ()

    def find_timing(self, runtime: str, batch: int, threads: int, file: str | None = None) -> Timing | None:
        """Return the timing of these settings, or None."""
        wanted = (runtime, batch, threads, file)
        return next((t for t in self.timings if (t.runtime, t.batch, t.threads, t.file) == wanted), None)

    def find_memory(self, timing: Timing) -> Memory | None:
        """Return the memory that was measured with the runtime and the batch size of a timing, or None."""
        wanted = (timing.runtime, timing.file, timing.batch)
        return next((m for m in self.memory if (m.runtime, m.file, m.batch) == wanted), None)


@dataclass(frozen=True)
class CostRecord:
    """What networks cost on one machine, measured at one time.

    Args:
        machine: processor, cores, memory, versions, the time.
        networks: what each of them costs.
    """

    machine: Mapping[str, Any]
    networks: tuple[NetworkCost, ...]

    def __iter__(self) -> Iterator[NetworkCost]:
        """Go through the networks."""
        return iter(self.networks)

    @property
    def was_busy(self) -> bool:
        """Tell whether other programs wanted as much as half of the cores beside the measurement."""
        load = self.machine.get("load")
        # The measurement itself is a load of about one.
        return load is not None and load > 1 + 0.5 * self.machine.get("cores", 1)

    def of_role(self, role: str) -> NetworkCost | None:
        """Return the first network of a role, or None."""
        return next((network for network in self.networks if network.role == role), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps({"schema": _SCHEMA, **asdict(self)}))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CostRecord:
        """Return what :meth:`to_dict` wrote.

        Raises:
            ValueError: another version wrote it.
            KeyError: something is missing.
            TypeError: something is of another kind.
        """
        if values["schema"] != _SCHEMA:
            raise ValueError(f"it has the schema {values['schema']!r}, and this version of dropkd knows {_SCHEMA}")
        return cls(dict(values["machine"]), tuple(_read_network(network) for network in values["networks"]))

    def write(self, folder: Path) -> Path:
        """Write ``cost.json`` into a run folder and return its path."""
        path = folder / FILE
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")
        return path


def read_record(folder: Path) -> CostRecord | None:
    """Return what ``dropkd cost`` kept in a run folder; None where it was not asked.

    Raises:
        ValueError: the file can't be read; it says why.
    """
    path = folder / FILE
    try:
        return CostRecord.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{FILE} can't be read ({type(error).__name__}: {error}).") from error


def _read_network(values: Mapping[str, Any]) -> NetworkCost:
    lists: dict[str, Any] = {
        "image_size": _pair(values["image_size"]),
        "timings": tuple(
            Timing(**{**timing, "latency": _read_latency(timing["latency"])}) for timing in values["timings"]
        ),
        "memory": tuple(Memory(**memory) for memory in values["memory"]),
        "notes": tuple(values["notes"]),
    }
    return NetworkCost(**{**values, **lists})


def _read_latency(values: Mapping[str, Any]) -> Latency:
    return Latency(**{**values, "interval": _pair(values["interval"])})


def _pair(values: Sequence[Any]) -> tuple[Any, Any]:
    first, second = values
    return first, second
