"""Every method trains in two processes at once, on images of its own in each, and both end with the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from two_processes import MEMORY, SAMPLES, STEPS, build_crd, draw_embedding

from dropkd.contracts import Batch, Outputs
from dropkd.methods import method_names

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("two_processes.py")
_SECONDS = 240

Reports = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def reports(folder: Path) -> Reports:
    """What two processes say of each method after two steps; both run once for all tests."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        # The loopback is there even where the machine's own name leads nowhere.
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    started = []
    for rank in range(2):
        with (folder / f"{rank}.log").open("w") as log:
            command = [sys.executable, str(_SCRIPT), str(folder), str(rank)]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
    try:
        codes = [process.wait(timeout=_SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0, 0], [(folder / f"{rank}.log").read_text()[-2000:] for rank in range(2)]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", method_names())
def test_all_that_is_trained_gets_gradients_changes_and_stays_alike_in_two_processes(
    name: str, reports: Reports
) -> None:
    first, second = (report[name] for report in reports)
    assert "error" not in first, first["error"]
    assert "error" not in second, second["error"]
    assert first["digests"]
    different = [key for key, value in first["digests"].items() if second["digests"][key] != value]
    assert (first["digests"].keys(), different) == (second["digests"].keys(), [])
    for report in (first, second):
        assert report["without gradient"] == []
        assert [key for key in report["of the method"] if key in report["unchanged"]] == []


def test_both_processes_remember_the_images_of_both(folder: Path, reports: Reports) -> None:
    first, second = (report[MEMORY] for report in reports)
    assert "error" not in first, first["error"]
    assert first == second
    memories = torch.load(folder / "memory0.pt", weights_only=True)
    # One process that sees all of them, those of the first process first, remembers the same.
    alone, samples = build_crd(seed=0), torch.tensor(SAMPLES[0] + SAMPLES[1])
    for seed in range(STEPS):
        embeddings = [
            torch.cat([draw_embedding(SAMPLES[rank], width, seed, rank) for rank in range(2)]) for width in (6, 9)
        ]
        student, teacher = (Outputs(e[:, :1], (), e) for e in embeddings)
        alone(student, teacher, Batch(samples % 4, samples))
    for name in ("student_memory", "teacher_memory"):
        torch.testing.assert_close(memories[name], getattr(alone, name))
    assert (memories["normalizers"] > 0).all()
