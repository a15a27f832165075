"""dropkd against other libraries: the same teacher, student, images, views, optimizer and schedule, by KD.

    python benchmarks/peers.py [--cases 32 224] [--sides dropkd torchdistill timm] [--quick] [--json]

Each side trains in a process of its own, by its own documented way: `dropkd.distill`, the loop of torchdistill's
example for image classification around its distillation box, the loop of timm's training script around its
distillation task and its own loader. *timm, channels last* is what that script does with ``--channels-last``, and
*dropkd, cached* keeps the teacher's answers on disk, which the seeds share. The sides take turns, an epoch at a time,
and time is the processor's own, on one thread, so that what else the machine does meets all alike. Before they train,
all are given one batch, and their losses and gradients must be the same.

An epoch is the training pass, with reading and decoding, the validation, and what is written; a run is everything from
the opening of the data to the test images' accuracy. torchdistill is installed into an environment that sees the torch
of this one; where it can't be had, that is said and the others are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from peers_case import Case
from peers_environment import Environment, NotToBeHadError, make_environment
from peers_images import Size, make_case
from short_training import format_spread

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.json"
# Cases at their usual size, and at the size of the tests.
SIZES = {
    "32": Size(images=512, judged=200, tested=1000, epochs=8, batch=64, seeds=3, teacher_epochs=8),
    "224": Size(images=40, judged=8, tested=16, epochs=2, batch=8, seeds=3),
}
QUICK = {
    "32": Size(images=20, judged=10, tested=10, epochs=2, batch=10, seeds=1),
    "224": Size(images=4, judged=4, tested=4, epochs=2, batch=2, seeds=1),
}
# What else dropkd and torchdistill both have, on the first case's networks, for its cost alone.
METHODS = ("lskd", "dist", "pkt", "sp", "at", "vid")
METHOD_SIZE = Size(images=384, judged=20, tested=20, epochs=2, batch=64, seeds=1)
# Quantile 0.975 of Student's t by degrees of freedom.
T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


@dataclass(frozen=True)
class Side:
    """One of those that are compared.

    Args:
        script: what its process runs.
        library: what it is about.
        changes: of the case.
    """

    script: str
    library: str
    changes: dict[str, Any] = field(default_factory=dict)


SIDES = {
    "dropkd": Side("peers_dropkd.py", "dropkd"),
    "dropkd, cached": Side("peers_dropkd.py", "dropkd", {"cached": True}),
    "torchdistill": Side("peers_torchdistill.py", "torchdistill"),
    "timm": Side("peers_timm.py", "timm"),
    "timm, channels last": Side("peers_timm.py", "timm", {"channels_last": True}),
}


class Process:
    """The process of a side.

    Args:
        name: of the side.
        case: what it trains.
        environment: Python and the libraries.
        scratch: a folder of its own.
    """

    def __init__(self, name: str, case: Case, environment: Environment, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        self.name, self.log = name, scratch / "log.txt"
        replace(case, scratch=str(scratch), **SIDES[name].changes).write(scratch / "case.json")
        self.events: list[dict[str, Any]] = []
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [environment.python, HERE / SIDES[name].script, scratch / "case.json"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **environment.variables},
            )  # fmt: skip
        self._hear()

    def take_turn(self) -> bool:
        """Let the side go on until it waits again; return False where it has ended."""
        if self._process.stdin is None or self._process.poll() is not None:
            return False
        with suppress(BrokenPipeError):
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> bool:
        for line in self._process.stdout or ():
            event = json.loads(line)
            if event["event"] == "turn":
                return True
            self.events.append(event)
        self._process.wait()
        return False

    def stop(self) -> None:
        """End the process where it still runs."""
        self._process.kill()
        self._process.wait()

    @property
    def failure(self) -> str | None:
        """The last line that a process that failed has written."""
        if not self._process.returncode:
            return None
        lines = self.log.read_text().strip().splitlines() or [f"exit status {self._process.returncode}"]
        return lines[-1]

    def list_events(self, kind: str) -> list[dict[str, Any]]:
        """Return what it told of one kind."""
        return [event for event in self.events if event["event"] == kind]


def run_sides(case: Case, sides: Sequence[str], environment: Environment, scratch: Path) -> list[Process]:
    """Train on all sides in turn and return their processes, ended."""
    processes: list[Process] = []
    try:
        processes += [Process(name, case, environment, scratch / name.replace(", ", "-")) for name in sides]
        waiting, number = list(processes), 0
        while waiting:
            # Each follows each, so that what one leaves in the caches is no one's gain.
            start = number % len(waiting)
            waiting = [process for process in waiting[start:] + waiting[:start] if process.take_turn()]
            number += 1
    finally:
        for process in processes:
            process.stop()
    return processes


def sum_up(process: Process) -> dict[str, Any]:
    """Return what a side measured."""
    if process.failure is not None:
        return {"side": process.name, "failed": process.failure}
    epochs, runs = process.list_events("epoch"), process.list_events("run")
    imported, checks = process.list_events("imported")[0], process.list_events("check")
    first = runs[0]
    return {
        "side": process.name,
        "check": checks[0] if checks else None,
        "step": statistics.median([seconds for epoch in epochs for seconds in epoch["steps"]]),
        "step_by_epoch": [statistics.median(epoch["steps"]) for epoch in epochs],
        "batch": statistics.median([seconds for epoch in epochs for seconds in epoch["waits"]]),
        "epoch": statistics.median([epoch["seconds"] for epoch in epochs]),
        "epochs": [epoch["seconds"] for epoch in epochs],
        "clock": [epoch["clock"] for epoch in epochs],
        "run": statistics.mean([run["seconds"] for run in runs]),
        "around": statistics.mean([run["seconds"] for run in runs]) - sum(e["seconds"] for e in epochs) / len(runs),
        "imports": imported["seconds"],
        "imports_bytes": imported["bytes"],
        "runs": [run["seconds"] for run in runs],
        "peak": first["peak"],
        "peak_over_imports": first["peak"] - imported["bytes"],
        "accuracy": [run["accuracy"] for run in runs],
    }


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Note for each side what it takes over what dropkd takes, and the difference of accuracies."""
    own = next((row for row in rows if row["side"] == "dropkd" and "failed" not in row), None)
    if own is None:
        return
    for row in rows:
        if "failed" in row:
            continue
        steps = [one / other for one, other in zip(row["step_by_epoch"], own["step_by_epoch"], strict=True)]
        epochs = [one / other for one, other in zip(row["epochs"], own["epochs"], strict=True)]
        row["over_dropkd"] = {
            "step": statistics.median(steps),
            "step_quartiles": _find_quartiles(steps),
            "epoch": statistics.median(epochs),
            "epoch_quartiles": _find_quartiles(epochs),
            "run": row["run"] / own["run"],
            "peak": row["peak"] / own["peak"],
            "peak_over_imports": row["peak_over_imports"] / own["peak_over_imports"],
        }
        gaps = [100 * (one - other) for one, other in zip(row["accuracy"], own["accuracy"], strict=True)]
        row["accuracy_over_dropkd"] = {"points": statistics.mean(gaps), "within": _find_reach(gaps)}
        if row["check"] is not None and own["check"] is not None:
            row["same_loss"] = all(
                abs(row["check"][part] - own["check"][part]) <= 1e-3 * abs(own["check"][part])
                for part in ("loss", "gradient")
            )


def _find_quartiles(values: Sequence[float]) -> list[float]:
    lower, _, upper = statistics.quantiles(values, n=4)
    return [lower, upper]


def _find_reach(gaps: Sequence[float]) -> float | None:
    """Return half the width of the 95 % interval of a mean."""
    if len(gaps) < 2:
        return None
    return float(T_QUANTILES.get(len(gaps) - 1, 2.0) * statistics.stdev(gaps) / len(gaps) ** 0.5)


def list_behind(row: dict[str, Any]) -> list[str]:
    """Return in what another side is ahead of dropkd."""
    over = row["over_dropkd"]
    behind = [name for name in ("step", "epoch", "run", "peak") if over[name] < 1]
    points, within = row["accuracy_over_dropkd"].values()
    return [*behind, *(["accuracy"] if within is not None and points > within else [])]


def format_rows(name: str, case: Case, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a case's table."""
    steps = len(list((Path(case.images) / "train").glob("*/*"))) // case.batch
    yield f"\n### {case.side} px: {case.method}, {case.student}, batch {case.batch}, {steps} steps an epoch\n"
    yield (
        "| side | step | epoch | run | before and after its epochs | peak memory | above imports | test accuracy | "
        "same loss | ahead of dropkd in |"
    )
    yield "|" + "---|" * 10
    for row in rows:
        if "failed" in row:
            yield f"| {row['side']} | {row['failed']} | | | | | | | | |"
            continue
        over = row.get("over_dropkd")
        accuracy = format_spread([100 * value for value in row["accuracy"]])
        if over is None or row["side"] == "dropkd":
            ratios = (f"{row['step'] * 1000:.0f} ms", f"{row['epoch']:.1f} s", f"{row['run']:.1f} s")
            memory = (f"{row['peak'] / 2**20:.0f} MiB", f"{row['peak_over_imports'] / 2**20:.0f} MiB")
            last = ""
        else:
            low, high = over["step_quartiles"]
            first, second = over["epoch_quartiles"]
            ratios = (
                f"{over['step']:.2f} ({low:.2f} to {high:.2f})",
                f"{over['epoch']:.2f} ({first:.2f} to {second:.2f})",
                f"{over['run']:.2f}",
            )
            memory = (f"{over['peak']:.2f}", f"{over['peak_over_imports']:.2f}")
            gap = row["accuracy_over_dropkd"]
            accuracy += f" ({gap['points']:+.2f}" + ("" if gap["within"] is None else f" ± {gap['within']:.2f}") + ")"
            # dropkd itself with a cache is no other side.
            last = "" if SIDES[row["side"]].library == "dropkd" else ", ".join(list_behind(row)) or "nothing"
        same = {None: "", True: "yes", False: "**no**"}[row.get("same_loss")]
        around = f"{row['around']:.1f} s"
        yield f"| {' | '.join((row['side'], *ratios, around, *memory, accuracy, same, last))} |"
    yield ""
    taken = [
        f"{row['side']} {row['imports']:.1f} s, {row['imports_bytes'] / 2**20:.0f} MiB"
        for row in rows
        if "failed" not in row and not SIDES[row["side"]].changes
    ]
    yield f"Before anything is done, Python and the libraries take: {'; '.join(taken)}."


def prepare(sides: Sequence[str], scratch: Path, show: Callable[[str], None]) -> tuple[Environment, dict[str, str]]:
    """Make the environment and return it, with why a library can't be had."""
    environment = make_environment(scratch / "environment")
    missing = {}
    for library in sorted({SIDES[name].library for name in sides} - {"dropkd"}):
        if environment.version(library) is None:
            try:
                environment.install(library)
            except NotToBeHadError as error:
                missing[library] = f"not to be had: {error}"
                show(f"{library} is {missing[library]}")
                continue
        show(f"{library} {environment.version(library)}")
    return environment, missing


def measure(case: Case, sides: Sequence[str], environment: Environment, runs: Path) -> list[dict[str, Any]]:
    """Return the rows of the sides, which train in folders under ``runs``."""
    shutil.rmtree(runs, ignore_errors=True)
    rows = [sum_up(process) for process in run_sides(case, sides, environment, runs)]
    compare(rows)
    return rows


def open_case(name: str, size: Size, scratch: Path) -> tuple[Case, Path]:
    """Return a case and its folder, where images and networks of the same size are found again."""
    folder = scratch / f"case-{name}-{size.images}-{size.judged}-{size.tested}"
    folder.mkdir(exist_ok=True)
    return make_case(name, size, folder), folder


def measure_methods(
    methods: Sequence[str], size: Size, environment: Environment, scratch: Path, show: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the rows of both sides for each method, and show a line for each as it is measured."""
    show("\n### Further methods of torchdistill over dropkd\n")
    show("| method | step of dropkd | step | epoch | peak memory |")
    show("|" + "---|" * 5)
    found = []
    for method in methods:
        case, folder = open_case("32", size, scratch)
        rows = measure(replace(case, method=method), ("dropkd", "torchdistill"), environment, folder / "runs")
        found.append({"method": method, "sides": rows})
        show(format_method(method, rows))
    return found


def format_method(method: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return a method's line."""
    failures = [f"{row['side']}: {row['failed']}" for row in rows if "failed" in row]
    if failures:
        return f"| {method} | {'; '.join(failures)} | | | |"
    own, other = rows
    over = other["over_dropkd"]
    low, high = over["step_quartiles"]
    return (
        f"| {method} | {own['step'] * 1000:.0f} ms | {over['step']:.2f} ({low:.2f} to {high:.2f}) | "
        f"{over['epoch']:.2f} | {over['peak']:.2f} |"
    )


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="further ones, for their cost")
    parser.add_argument("--seeds", type=int, help="students; by default 3")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--scratch", type=Path, help="keep environment, images and teachers here; by default nowhere")
    parser.add_argument("--quick", action="store_true", help="a size that takes a minute and says nothing")
    parser.add_argument("--json", action="store_true", help=f"also write {RESULTS.name}; with --quick, print it")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("a process's memory is read from /proc, which only Linux has")
    return arguments


def main() -> None:
    """Measure, and print a table for each case."""
    arguments = read_arguments()
    prints_json = arguments.json and arguments.quick

    def show(line: str) -> None:
        print(line, file=sys.stderr if prints_json else sys.stdout, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "cases": {}}
        document["versions"] = {library: version(library) for library in ("dropkd", "torch", "torchvision", "timm")}
        environment, missing = prepare(arguments.sides, scratch, show)
        document["versions"]["torchdistill"] = environment.version("torchdistill")
        document["missing"] = missing
        sides = [name for name in arguments.sides if SIDES[name].library not in missing]
        torch.set_num_threads(1)
        for name in arguments.cases:
            size = (QUICK if arguments.quick else SIZES)[name]
            size = replace(size, seeds=arguments.seeds or size.seeds, epochs=arguments.epochs or size.epochs)
            rows = [{"side": s, "failed": missing[SIDES[s].library]} for s in arguments.sides if s not in sides]
            document["cases"][name] = {"sides": rows}
            if not sides:
                continue
            case, folder = open_case(name, size, scratch)
            rows[:0] = measure(case, sides, environment, folder / "runs")
            document["cases"][name] |= {"method": case.method, "student": case.student, **asdict(size)}
            for line in format_rows(name, case, rows):
                show(line)
        if arguments.methods and "torchdistill" in sides:
            size = replace(QUICK["32"], seeds=1) if arguments.quick else METHOD_SIZE
            document["methods"] = measure_methods(arguments.methods, size, environment, scratch, show)
    if prints_json:
        print(json.dumps(document, indent=2))
    elif arguments.json:
        RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
