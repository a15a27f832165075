"""Writes what the engine writes, with its own pen: configuration, log, figures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropkd.engine.journal import Journal

STEPS = 10
# A process that holds a run's log until it is killed.
WRITER = (
    "import sys, time; from pathlib import Path; from dropkd.engine.journal import Journal;"
    "path = Path(sys.argv[1]); journal = Journal(path, path.stat().st_size if path.exists() else 0);"
    "print('ready', flush=True); time.sleep(60)"
)


def config(epochs: int = 4, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"path": "photos"},
        "student": {"name": "resnet18"},
        "teacher": {"source": "vit_base_patch16_224"},
        "method": {"name": "kd"},
        "training": {"epochs": epochs, "batch_size": 64},
        "seed": 3,
        **changes,
    }


def start(settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"event": "start", "step": 0, "config": settings or config()}


def step(number: int, epochs: int = 4, **changes: Any) -> dict[str, Any]:
    """The ``number``-th step, counted from 1: half a second each."""
    terms = {"cross_entropy": {"raw": 2 / number, "weighted": 2 / number}, "logit": {"raw": 4.0, "weighted": 1.0}}
    return {
        "event": "step", "step": number, "epoch": (number - 1) // STEPS, "total_steps": epochs * STEPS, "lr": 0.1,
        "loss": 1 + 2 / number, "terms": terms, "seconds": number / 2, "images_per_second": 128.0, **changes,
    }  # fmt: skip


def epoch(number: int, accuracy: float = 0.5, *, best: bool = True, **changes: Any) -> dict[str, Any]:
    """The line of an epoch, counted from 0."""
    terms = {
        "cross_entropy": {"raw": 1.0, "weighted": 1.0, "share": 0.25},
        "logit": {"raw": 4.0, "weighted": 3.0, "share": 0.75},
    }
    return {
        "event": "epoch", "step": (number + 1) * STEPS, "epoch": number, "seconds": (number + 1) * STEPS / 2,
        "train": {"loss": 4.0, "accuracy": accuracy - 0.1, "agreement": 0.5, "terms": terms},
        "val": {"loss": 1.5, "accuracy": accuracy, "uar": 0.4, "agreement": 0.6}, "best": best, "lr": 0.1,
        "imbalanced": False, "probe": False, "peak_memory": 2_500_000_000, **changes,
    }  # fmt: skip


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def events(epochs: int = 4, done: int | None = None) -> list[dict[str, Any]]:
    """The log of a run that has done so many epochs, best in the second."""
    found = [start(config(epochs))]
    for number in range(epochs if done is None else done):
        found += [step(number * STEPS + k, epochs) for k in range(1, STEPS + 1)]
        found.append(epoch(number, 0.9 if number == 1 else 0.5 + number / 100, best=number < 2))
    return found if done is not None else [*found, {"event": "end", "step": epochs * STEPS, "splits": {}}]


def write_run(folder: Path, *told: dict[str, Any], tail: bytes = b"", settings: dict[str, Any] | None = None) -> Path:
    """Write a run folder that nobody holds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(settings or config()))  # which is YAML too
    if told or tail:
        (folder / "metrics.jsonl").write_bytes(lines(*told) + tail)
    return folder


@contextmanager
def held(folder: Path) -> Iterator[Journal]:
    """Hold a run's log as the process that trains it does, and write on."""
    path = folder / "metrics.jsonl"
    journal = Journal(path, path.stat().st_size if path.exists() else 0)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains a run; killed at the end at the latest."""
    command = [sys.executable, "-c", WRITER, str(folder / "metrics.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until(happened: Any, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
