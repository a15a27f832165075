"""What a side of the comparison measures of itself, and how it takes turns with the other sides.

A side runs in a process of its own and does an epoch when the comparison says so, so that what else the machine does
meets all sides alike. It writes a line of JSON for each thing measured, and reads a line before each epoch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Meter"]

T = TypeVar("T")


class Meter:
    """Times epochs and steps by the processor's own clock, and tells the comparison.

    Args:
        None: lines go to what was the standard output, which libraries print to as well; theirs goes to the log.
    """

    def __init__(self) -> None:
        self._lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._steps: list[float] = []
        self._waits: list[float] = []
        self._started = self._clock = 0.0
        self._place = (0, 0)
        self._is_open = False

    def tell(self, event: str, **content: Any) -> None:
        """Write a line."""
        self._lines.write(json.dumps({"event": event, **content}) + "\n")
        self._lines.flush()

    def wait_for_turn(self) -> None:
        """Stop until the comparison says that it is this side's turn."""
        self.tell("turn")
        if not sys.stdin.readline():
            raise SystemExit("the comparison is gone")

    def note_imports(self) -> None:
        """Tell what Python and the libraries have taken before anything was done."""
        self.tell("imported", bytes=resident_bytes(), seconds=time.process_time())

    def open_epoch(self, seed: int, epoch: int) -> None:
        """Wait for the turn and start to count."""
        self.close_epoch()
        self.wait_for_turn()
        self._steps, self._waits, self._place, self._is_open = [], [], (seed, epoch), True
        self._started, self._clock = time.process_time(), time.perf_counter()

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass batches on: what happens until the next one is asked for is a step, making it is not."""
        iterator = iter(batches)
        while True:
            # Of this thread alone: a thread that makes the next batch meanwhile is no part of the step.
            asked = time.thread_time()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            got = time.thread_time()
            yield batch
            self._waits.append(got - asked)
            self._steps.append(time.thread_time() - got)

    def close_epoch(self) -> None:
        """Tell what an epoch took: its steps, its batches, the validation and what was written."""
        if not self._is_open:
            return
        self._is_open = False
        seed, epoch = self._place
        self.tell(
            "epoch", seed=seed, epoch=epoch, seconds=time.process_time() - self._started,
            clock=time.perf_counter() - self._clock, steps=self._steps, waits=self._waits,
        )  # fmt: skip

    def note_check(self, loss: float, gradient: float) -> None:
        """Tell the loss of the batch that all sides are given, and how long its gradient is."""
        self.tell("check", loss=loss, gradient=gradient)

    def note_run(self, seed: int, accuracy: float, spent: float) -> None:
        """Tell what a training came to, and the processor's seconds that it took from its start to its end."""
        self.close_epoch()
        self.tell("run", seed=seed, accuracy=accuracy, seconds=spent, peak=peak_bytes())


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    # What getrusage tells of a process may be the peak of the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
