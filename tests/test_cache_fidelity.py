"""The benchmark of what a student loses by learning from a cache: it runs whole, and repeats nothing that is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "cache_fidelity.py"
QUICK = ("--quick", "--methods", "kd", "dropkd", "--seeds", "0", "--settings", "live", "float32", "views=1")


def run_script(output: Path, *arguments: str) -> str:
    command = [sys.executable, str(SCRIPT), "--output", str(output), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quick benchmark wrote."""
    path = tmp_path_factory.mktemp("fidelity") / "fidelity.jsonl"
    run_script(path, *QUICK)
    return path


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_each_setting_is_compared_with_the_live_teacher(output: Path) -> None:
    runs = {(row["method"], row["setting"]): row for row in rows_of(output) if "test" in row}
    tried = {("kd", "live"), ("kd", "views=1"), ("dropkd", "live"), ("dropkd", "views=1"), ("dropkd", "float32")}
    assert runs.keys() == tried
    # In single precision a cache is the teacher.
    assert runs["dropkd", "float32"]["loss"] == pytest.approx(runs["dropkd", "live"]["loss"], rel=1e-4)
    assert runs["kd", "views=1"]["loss"] != pytest.approx(runs["kd", "live"]["loss"], rel=1e-4)


def test_losses_gradients_and_maps_change_the_more_the_fewer_digits_are_kept(output: Path) -> None:
    rows = {(row["method"], row["setting"]): row for row in rows_of(output) if "loss_change" in row}
    exact, half, byte = (rows["dropkd", setting] for setting in ("float32", "float16", "int8"))
    for name in ("loss_change", "gradient_change"):
        assert exact[name] < 1e-4
        assert exact[name] <= half[name] < 5e-3
        assert half[name] < byte[name] < 0.1
    assert 1 >= half["cka"] > byte["cka"] > rows["dropkd", "channels=32"]["cka"] > 0.5
    assert rows["kd", "float16"]["cka"] is None
    assert rows["kd", "top=3"]["loss_change"] > rows["kd", "float16"]["loss_change"]


def test_what_is_there_is_not_repeated_and_is_printed_and_summed_up(output: Path) -> None:
    before = output.read_text()
    printed = run_script(output, *QUICK, "--json")
    assert output.read_text() == before
    assert "| dropkd | float32 | 1 |" in printed
    summary = json.loads(output.with_suffix(".json").read_text())
    assert len(summary["runs"]) == 5
    assert summary["torch"]
