"""The benchmark of what a step costs runs whole on small networks, and its document says what was measured."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "step_cost.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_document_has_each_methods_cached_and_live_step_and_whether_its_bound_is_kept() -> None:
    done = _run("--quick", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"processor", "cores", "torch", "commit", "load", "when"} <= document.keys()
    assert document["time"] == "the process's own time"
    cifar, small, large = document["pairs"]
    assert [row["method"] for row in cifar["methods"]] == ["kd", "dkd", "dropkd", "reviewkd"]
    assert [row["method"] for row in large["methods"]] == ["kd", "dropkd"]
    for row in (*cifar["methods"], *small["methods"], *large["methods"]):
        for kind in ("cached", "live"):
            assert row[kind]["seconds"] > 0
            assert row[kind]["time"] > 0
            assert row[kind]["quartiles"][0] <= row[kind]["quartiles"][1]
        assert row["within_bound"] == (row["cached"]["time"] <= row["bound"])
    assert cifar["methods"][0]["bound"] == 1.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "cifra"], "unknown pair 'cifra'; the pairs are cifar, vit_s, vit_l"),
        (["--rounds", "1"], "--rounds must be 2 at least"),
    ],
)
def test_wrong_argument_is_told(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["step_cost.py", *arguments])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert message in capsys.readouterr().err
