"""Writes ``cost.json`` as ``dropkd cost`` does, with chosen times."""

from __future__ import annotations

import json
from pathlib import Path

from dropkd.costing.latency import Latency
from dropkd.costing.record import CostRecord, Memory, NetworkCost, Timing

MACHINE = {
    "processor": "Some Processor", "device": "cpu", "cores": 2, "load": 0.3,
    "versions": {"torch": "2.14.1", "onnxruntime": "1.32.0"}, "measured": "2026-11-24T18:00:00+00:00",
}  # fmt: skip


def write_cost(
    run: Path,
    seconds: float,
    *,
    teacher: float | None = None,
    notes: tuple[str, ...] = (),
    width: float = 0.02,
    **machine: object,
) -> None:
    """Keep in a run folder that its student takes so many seconds for an image, and its teacher; known to ``width``."""
    metrics = json.loads((run / "metrics.json").read_text())
    networks = [_describe(run.name, "student", metrics["student"], seconds, notes, width)]
    if teacher is not None:
        networks.append(_describe("runs/teacher", "teacher", metrics["teacher"], teacher, (), width))
    CostRecord({**MACHINE, **machine}, tuple(networks)).write(run)


def _describe(
    name: str, role: str, known: dict[str, int], seconds: float, notes: tuple[str, ...], width: float
) -> NetworkCost:
    parameters, macs = known["parameters"], known["macs"]
    low, high = 1 - width / 2, 1 + width / 2
    timings = tuple(
        Timing("torch", None, batch, 1, Latency(p50, 1.5 * p50, (low * p50, high * p50), 40, True))
        for batch, p50 in ((1, seconds), (8, 6 * seconds))
    )
    memory = (Memory("torch", None, 1, 812_000_000, 800_000_000),)
    same = (parameters, macs)
    return NetworkCost(
        name, role, str(known["name"]), (28, 28), *same, 4 * parameters, *same, {}, timings, memory, notes
    )  # fmt: skip
