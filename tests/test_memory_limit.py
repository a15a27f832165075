"""The benchmark of a cache larger than memory: the limit is real, and nothing is read or learned otherwise inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "memory_limit.py"


@pytest.mark.slow
def test_inside_of_the_limit_the_same_is_read_and_learned_and_who_takes_more_does_not_live() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["limit_holds"]
    assert document["taking_more_ends_with"] != 0
    assert document["same_answers"]
    assert document["same_losses"]
    inside, outside = document["inside"], document["outside"]
    assert inside["crc32"] == outside["crc32"] != 0
    assert len(inside["losses"]) == document["views"] == 2
    assert inside["read_through_the_cache"]["to_the_end"]
    assert inside["read_through_the_cache"]["views"] == 2
    # So small a cache proves nothing about a large one, and is not said to.
    assert document["cache_over_limit"] < 3
    assert not document["kept"]
