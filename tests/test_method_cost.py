"""The benchmark of what methods cost: it counts what a step allocates, and its document says what was measured."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "method_cost.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--pairs", "cifar", "--batch", "4", "--steps", "2", "--device", "cpu"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_document_has_time_and_memory_of_each_method_with_and_without_its_teacher_run() -> None:
    done = _run("--methods", "kd,eac,fitnet", "--json")
    assert done.returncode == 0, done.stderr
    (pair,) = json.loads(done.stdout)["pairs"]
    assert (pair["student"], pair["teacher"], pair["batch"]) == ("cifar_resnet20", "cifar_resnet56", 4)
    kd, eac, fitnet = pair["methods"]
    # A pass of ResNet-56 is about as long as a step of ResNet-20, and one of two views twice as long.
    assert kd["cached"]["time"] + 0.3 < kd["live"]["time"]
    assert eac["views"] == 2
    assert 1.3 < eac["without_teacher"]["time"] < 3
    assert "live" not in eac
    # The teacher of 862 thousand numbers is there only where it is run.
    assert kd["live"]["bytes"] - kd["cached"]["bytes"] > 0.8 * 4 * 862_000
    # KD keeps a few logits more than plain training, FitNet the maps of the teacher.
    assert 0 < kd["cached"]["bytes"] - kd["plain"]["bytes"] < 50_000
    assert fitnet["cached"]["bytes"] - fitnet["plain"]["bytes"] > 4 * 4 * 16 * 32 * 32
    # Bounds are for another batch size.
    assert "bound" not in kd


def test_table_says_which_method_refuses_the_batch() -> None:
    done = _run("--methods", "sp", "--batch", "1")
    assert done.returncode == 0, done.stderr
    assert "sp         SP, which compares images with each other, needs at least 2 images" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "kdd"], "unknown method 'kdd'. Did you mean 'kd'?"),
        (["--pairs", "cifra"], "unknown pair 'cifra'; the pairs are cifar, vit"),
        (["--steps", "1"], "--steps must be 2 at least"),
    ],
)
def test_wrong_argument_is_told(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["method_cost.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert message in capsys.readouterr().err
