"""``dropkd cost`` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import Cli

QUICK = ("--batch", "1", "--threads", "1", "--seconds", "0.05", "--no-memory")


def test_a_runs_cost_is_printed_kept_and_shown_by_its_report(cli: Cli, teacher_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(teacher_run, tmp_path / "my run"))
    code, shown, _ = cli("cost", run, *QUICK)
    assert code == 0
    (row,) = (line for line in shown.splitlines() if "cifar_resnet8" in line)
    assert "my run (student)" in row
    assert "28x28" in row
    assert "77.59 k" in row
    assert "9.571 M" in row
    kept = json.loads((run / "cost.json").read_text())
    assert [network["role"] for network in kept["networks"]] == ["student"]
    p50 = kept["networks"][0]["timings"][0]["latency"]["p50"]
    assert f"{1000 * p50:.3f}"[:3] in shown
    assert (run / "report.html").is_file()


def test_models_by_name_are_printed_as_json_that_is_what_is_kept(cli: Cli) -> None:
    code, shown, _ = cli(
        "cost", "cifar_resnet8", "cifar_vgg8", "--image-size", "16x16", "--classes", 7, *QUICK, "--json"
    )
    assert code == 0
    found = json.loads(shown)
    assert [(network["name"], network["image_size"]) for network in found["networks"]] == [
        ("cifar_resnet8", [16, 16]),
        ("cifar_vgg8", [16, 16]),
    ]
    assert all(network["timings"][0]["latency"]["calls"] > 0 for network in found["networks"])
    assert found["machine"]["versions"]["torch"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cifar_resnt8"], "Did you mean 'cifar_resnet8'?"),
        (["nowhere/run"], "Nor is there a run folder or a file 'nowhere/run'."),
        (["nowhere.onnx"], "There is no file 'nowhere.onnx'."),
        (["cifar_resnet8", "--batch", "1,,8"], "--batch: must be whole numbers of 1 or more with commas between"),
        (["cifar_resnet8", "--batch", "-1"], "--batch: must be whole numbers of 1 or more with commas between"),
        (["cifar_resnet8", "--threads", "two"], "--threads: must be whole numbers of 1 or more with commas between"),
        (["cifar_resnet8", "--seconds", "0"], "seconds must be above 0, got 0."),
        (
            ["cifar_resnet8", "--image-size", "big"],
            "--image-size: must be a whole number of pixels, or HxW",
        ),
        (["cifar_resnet8", "--classes", "0"], "--classes: must be at least 1, got 0."),
        (["cifar_resnet8", "--device", "cuda:9"], "--device cuda:9 was asked for"),
    ],
)
def test_mistakes_are_told_in_a_line(cli: Cli, arguments: list[str], words: str) -> None:
    code, shown, said = cli("cost", *arguments)
    assert (code, shown) == (2, "")
    assert words in said
    assert "Traceback" not in said
