"""Stopping a run at a step, and comparing what two runs left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from dropkd.engine.checkpoint import load_checkpoint
from dropkd.engine.observer import Observer


class StopAt(Observer):
    """Sends this process a signal when a step is reached."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step(self, *, epoch: int, step: int, total_steps: int, loss: float, images_per_second: float) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)


def checkpoint_of(folder: Path) -> dict[str, Any]:
    """Return all that a checkpoint holds but for the clock."""
    content = load_checkpoint(folder / "last.ckpt")
    content["position"].pop("seconds")
    content.pop("journal_size")
    return content


def assert_same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert one == other, where


def assert_alike(one: Path, other: Path) -> None:
    """All that two runs left behind is the same but for the clock."""
    for name in ("student.safetensors", "predictions.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert_same(checkpoint_of(one), checkpoint_of(other))
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, other))
    for metrics in (first, second):
        metrics.pop("seconds")
    assert first == second
