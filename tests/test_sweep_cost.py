"""The benchmark of a sweep: live and cached runs are measured in parts, and the ratios follow from these."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "sweep_cost.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--quick", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_document_has_the_parts_of_live_and_cached_runs_and_the_ratios_that_follow() -> None:
    # At 64 px a small vision transformer takes several times as long as the student.
    done = _run("--teacher", "vit_small_patch16_224", "--images", "16", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["side"], document["images"], document["measured"], document["bound"]) == (64, 16, 1, 4)
    assert document["runs"]["of"] == 6
    seconds, over = document["seconds"], document["step_over_plain"]
    assert over["cached"] < over["live"]
    assert over["live"] == pytest.approx(seconds["step"]["live"] / seconds["step"]["plain"])
    live, cached, build = seconds["parts"]["live"], seconds["parts"]["cached"], seconds["build"]
    rows = document["as_measured"]
    assert rows["views = epochs"]["live"] == pytest.approx(6 * sum(live.values()))
    assert rows["views = epochs"]["cached"] == pytest.approx(6 * sum(cached.values()) + sum(build.values()))
    # One view of two is not asked about.
    saved = rows["views = epochs"]["cached"] - rows["views = epochs / 2"]["cached"]
    assert saved == pytest.approx(build["asking"] / 2)
    # Where starts count for little, the teacher's price does.
    assert document["usual"]["views = epochs"]["ratio"] > rows["views = epochs"]["ratio"]
