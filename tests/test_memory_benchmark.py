"""The benchmark of memory counts what a step holds: a teacher, its answers, a method's own networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "memory.py"


def test_document_has_the_peak_of_each_method_over_that_of_plain_training() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--json", "--pairs", "cifar", "--without-limit"]
    done = subprocess.run([*command, "--methods", "kd,fitnet,eac,sp"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (pair,) = document["pairs"]
    kd, fitnet, eac, sp = pair["methods"]
    # The 272 thousand numbers of the teacher are in memory; its pass ends before the peak of the student's.
    assert kd["cached"]["bytes"] - pair["plain_bytes"] > 4 * 270_000
    assert kd["live"]["bytes"] >= kd["cached"]["bytes"]
    # The teacher's maps of 8 images.
    assert fitnet["cached"]["bytes"] - kd["cached"]["bytes"] > 4 * 8 * 16 * 32 * 32
    assert eac["views"] == 2
    assert eac["without_teacher"]["memory"] > 1.3
    assert sp["cached"]["memory"] > 1
    assert kd["cached"]["memory"] == kd["cached"]["bytes"] / pair["plain_bytes"]
