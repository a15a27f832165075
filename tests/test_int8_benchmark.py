"""The benchmark of whole numbers: its figures follow from each other, on a few images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "int8.py"


@pytest.mark.slow
def test_document_has_each_file_and_what_the_teacher_gives_back() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (seed,) = document["seeds"]
    names = {"float", "static, 8 bits", "static, 4 bits"}
    learned = {f"{method}, 4 bits{how}" for method in ("plain", "kd") for how in ("", ", as trained")}
    assert set(seed["accuracy"]) == names | learned
    for first, second, key in (
        ("static, 4 bits", "float", "static - float"),
        ("kd, 4 bits", "static, 4 bits", "kd - static"),
        ("kd, 4 bits", "plain, 4 bits", "kd - plain"),
    ):
        found, figures = document["differences"][key], document["mean"]
        assert found["images"] == 80
        assert found["difference"] == pytest.approx(figures[first] - figures[second])
        assert found["gained"] - found["lost"] == round(80 * found["difference"])
        assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    for told in seed["file_and_student"].values():
        assert told["split"] == "val"
        assert 0 <= told["same"] <= 1
    assert all(seed["latency"][kind]["p50"] > 0 for kind in ("float", "int8"))
    assert document["large"] == []
