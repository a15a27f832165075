"""The comparison with other libraries: all sides do the same, and one that can't be had is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "peers.py"


def _run(*arguments: str) -> dict[str, Any]:
    # No index is asked: what is not installed is not to be had.
    variables = {**os.environ, "PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--quick", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_dropkd_and_timm_train_alike_and_are_measured_alike() -> None:
    document = _run("--cases", "32", "--sides", "dropkd", "timm", "--methods")
    dropkd, timm = document["cases"]["32"]["sides"]
    for row in (dropkd, timm):
        assert len(row["step_by_epoch"]) == len(row["epochs"]) == 2
        assert 0 < row["step"] < row["epoch"] < row["run"]
        (accuracy,) = row["accuracy"]
        assert 0 <= accuracy <= 1
        assert row["peak"] > row["imports_bytes"] > 0
        assert row["peak_over_imports"] == row["peak"] - row["imports_bytes"]
        assert row["same_loss"]
    assert timm["check"]["loss"] == pytest.approx(dropkd["check"]["loss"], rel=1e-4)
    assert timm["check"]["gradient"] == pytest.approx(dropkd["check"]["gradient"], rel=1e-4)
    assert dropkd["over_dropkd"]["step"] == dropkd["over_dropkd"]["epoch"] == dropkd["over_dropkd"]["run"] == 1
    assert dropkd["accuracy_over_dropkd"]["points"] == 0
    ratios = [theirs / ours for theirs, ours in zip(timm["epochs"], dropkd["epochs"], strict=True)]
    low, high = timm["over_dropkd"]["epoch_quartiles"]
    assert low <= timm["over_dropkd"]["epoch"] <= high
    assert timm["over_dropkd"]["epoch"] == pytest.approx(sum(ratios) / 2)


def test_a_library_that_is_not_to_be_had_has_a_row_that_says_so(tmp_path: Path) -> None:
    document = _run("--cases", "32", "--sides", "torchdistill", "--scratch", str(tmp_path))
    (row,) = document["cases"]["32"]["sides"]
    assert row["side"] == "torchdistill"
    assert row["failed"].startswith("not to be had: ERROR")
    assert document["missing"] == {"torchdistill": row["failed"]}
    assert document["versions"]["torchdistill"] is None
    assert "methods" not in document
