"""The benchmark of the input pipeline: all sides are run, and what is kept has the pixels of what is decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "input_pipeline.py"


def _run(*arguments: str) -> str:
    command = [sys.executable, str(SCRIPT), "--quick", "--workers", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_kind_of_image_is_read_in_all_ways_and_gives_the_same_pixels() -> None:
    document = json.loads(_run("--json"))
    assert [(row["images"], row["kept_in"], row["bound"]) for row in document["loading"]] == [
        ("32 px PNG", "memory", 10),
        ("500 x 375 JPEG", "disk", 2.5),
        ("2000 x 1500 JPEG", "disk", 2.5),
    ]
    for row in document["loading"]:
        assert row["same_pixels"]
        assert row["first_pass_ratio"] > 0
        for name in ("decoding", "keeping"):
            # One round.
            assert row[f"{name}_ratio_range"] == [row[f"{name}_ratio"]] * 2
            ratio = row[f"{name}_per_cpu_second"] / row["torchvision_per_cpu_second"]
            assert row[f"{name}_ratio"] == pytest.approx(ratio, rel=0.1)
            assert row[f"{name}_holds"] == (row[f"{name}_ratio"] >= row["bound"])
    (epoch,) = document["epochs"]
    assert (epoch["model"], epoch["batch"], epoch["steps"], epoch["bound"]) == ("cifar_resnet8", 64, 2, 1.1)
    assert epoch["ratio"] == pytest.approx(epoch["epoch_seconds"] / epoch["bare_seconds"], rel=0.01)
    assert epoch["kept"] == (epoch["ratio"] <= 1.1)
