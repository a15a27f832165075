"""The benchmark of growth: each size is measured in a process of its own, and the exponents follow from that."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "scaling.py"


@pytest.mark.slow
def test_document_has_each_stage_at_each_size_and_the_exponents_and_shares_that_follow() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    measured, sizes = document["measured"], document["sizes"]
    for kind in ("images in a folder", "images in a table"):
        assert [row["size"] for row in measured[kind]] == sizes["images"]
        stages = ["list", "read and decode", "cut splits", "fingerprint", "order of an epoch", "balanced order"]
        # Where all files are read at once, that they are listed is only noted with them.
        assert set(measured[kind][-1]["seconds"]) == set(stages)
    assert [row["size"] for row in measured["views of a cache"]] == sizes["views"]
    assert [row["size"] for row in measured["classes of answers"]] == sizes["classes"]
    for kind in ("images of a run", "images of a later run"):
        run = measured[kind][-1]
        assert set(run["seconds"]) == {"start", "epoch", "figures and report"}
        assert run["mebibytes"] > 0
        share = (document["imports"] + run["seconds"]["start"]) / run["seconds"]["epoch"]
        assert document["of_the_first_epoch"][kind]["start and imports"] == pytest.approx(share)
        assert document["start"]["kept"][kind]["start and imports"] is (share < 0.1)
    before, last = (sum(row["seconds"].values()) for row in measured["images in a folder"][-2:])
    exponent = document["exponents"]["images in a folder"]["all"]
    assert exponent == pytest.approx(math.log(last / before) / math.log(2))
    assert document["opening"]["kept"] is (document["opening"]["exponent"] <= 1.1)
