"""Freed memory is kept for the next step, unless the user has said what is to become of it."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import resource, sys
import torch
from dropkd.engine.allocation import keep_freed_memory

torch.set_num_threads(1)
kept = keep_freed_memory()

def count_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**24) for _ in range(3)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# It takes a few rounds until what is free lies together.
print(kept, [count_pages() for _ in range(10)][-1])
"""


def run(**variables: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


def test_pages_of_freed_blocks_are_not_cleared_again() -> None:
    # 192 MiB are 49,152 pages of 4 KiB.
    kept, pages = run()
    assert kept
    assert pages < 1_000


def test_what_the_user_has_set_stays() -> None:
    kept, pages = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert pages > 10_000
