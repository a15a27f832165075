"""The benchmark of a sweep: both ways are run whole, and reach the same losses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "sweep_cost.py"


def test_six_runs_and_one_group_are_measured_and_learn_alike() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--images", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["side"], document["images"], document["epochs"], document["bound"]) == (64, 8, 2, 4)
    seconds = document["seconds"]
    assert [(run["rate"], run["seed"]) for run in seconds["live"]] == [
        (rate, seed) for rate in (0.3, 0.5, 0.7) for seed in (0, 1)
    ]
    for run in (*seconds["live"], seconds["group"], seconds["plain"]):
        parts = ("before_steps", "asking_for_the_cache", "steps", "end")
        assert sum(run[part] for part in parts) == pytest.approx(run["all"])
        assert min(run[part] for part in parts) >= 0
    # The group alone has asked beforehand.
    assert seconds["group"]["asking_for_the_cache"] > 0
    assert {run["asking_for_the_cache"] for run in seconds["live"]} == {0}
    assert document["live_seconds"] == pytest.approx(sum(run["all"] for run in seconds["live"]))
    assert document["ratio"] == pytest.approx(document["live_seconds"] / document["group_seconds"])
    # float16 keeps eleven bits.
    assert 0 < document["largest_difference_of_a_loss"] < 5e-3
    assert "ratio " in done.stderr
