"""What a step of distillation holds in memory beside a step of plain training, at its peak, for each method.

    python benchmarks/memory.py [--json] [--quick] [--pairs cifar,vit_s] [--methods kd,at] [--without-limit]

A step is the engine's own (see step_cost.py), with the teacher's answers from its cache or with a live teacher. Counted
are the bytes of torch's tensors: what is there between two steps (weights and buffers of student, method and teacher,
which is in memory in both cases; the optimiser's state, the batch) and the most that a step allocates on top, as
torch's profiler counts it. They are the same on any machine, busy or not. The cache itself is mapped: its pages belong
to the system, which takes them back when memory is short.

Methods that remember samples are given as few as the benchmark has images; CRD's memories grow by 1,024 bytes for each.
What a cache larger than memory does is measured by memory_limit.py, which is run at the end where it is there.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dropkd.data import ImageData, open_data
from dropkd.errors import DropKDError
from dropkd.methods.registry import method_class, method_names
from dropkd.models import Network, build_network
from method_cost import measure_allocated
from record import describe_machine, keep
from step_cost import PAIRS, QUICK, PairOfNetworks, Stepper, settle_norms, write_images

MEASURED = ("cifar", "vit_s")
LIMIT_SCRIPT = Path(__file__).parent / "memory_limit.py"


def list_tensors(stepper: Stepper) -> Iterator[Tensor]:
    """Yield what is in memory between two steps."""
    training, batch = stepper.training, stepper.batches[0]
    yield from training.distiller.state_dict().values()
    for state in training.optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    teacher = training.distiller.teacher
    if teacher is not None:
        yield from teacher.state_dict().values()
    yield from (batch.images, batch.target, batch.index)


def measure_peak(stepper: Stepper) -> int:
    """Return the bytes that torch holds at the peak of a step."""
    # The first steps make the optimiser's state.
    for _ in range(2):
        stepper.step()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in list_tensors(stepper)}
    return sum(storages.values()) + measure_allocated(stepper.step, stepper.training.device)


def measure_method(
    method: str, pair: PairOfNetworks, teacher: Network, data: ImageData, folder: Path, plain: int
) -> dict[str, Any]:
    """Return the peaks of a method's step, and how many times that of a plain one they are."""
    row: dict[str, Any] = {"method": method}
    asks = bool(method_class(method).teacher_reads)
    for kind in ("cached", "live") if asks else ("without_teacher",):
        stepper = Stepper(method, pair, teacher if asks else None, data, folder, is_cached=kind == "cached")
        row["views"] = len(stepper.training.distiller.method.views)
        peak = measure_peak(stepper)
        stepper.check()
        row[kind] = {"bytes": peak, "memory": peak / plain}
        gc.collect()
    return row


def measure_pair(key: str, pair: PairOfNetworks, methods: Sequence[str], show: Callable[[str], None]) -> dict[str, Any]:
    """Return what the methods take for a pair, and show a line for each as it is measured."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_images(folder / "images", pair)
        data = open_data(str(folder / "images"), seed=0, validation_fraction=0)
        teacher = build_network(pair.teacher, num_classes=pair.classes, image_size=pair.side, classes=data.classes)
        settle_norms(teacher, pair)
        plain = measure_peak(Stepper("plain", pair, None, data, folder, is_cached=False))
        show(f"\n{pair.teacher} -> {pair.student}, {pair.side} px, batch {pair.batch}, {pair.classes} classes")
        show(f"A plain step holds {plain / 2**20:.1f} MiB; times that:")
        show(f"{'':<12}{'cached':>10}{'live':>10}")
        rows = []
        for method in methods:
            try:
                row = measure_method(method, pair, teacher, data, folder / "cache", plain)
            except DropKDError as error:
                row = {"method": method, "refused": str(error)}
            rows.append(row)
            show(format_row(row))
    return {"pair": key, **asdict(pair), "plain_bytes": plain, "methods": rows}


def format_row(row: dict[str, Any]) -> str:
    """Return a line of the table."""
    if "refused" in row:
        return f"{row['method']:<12}refused: {row['refused']}"
    cells = [f"{row[kind]['memory']:>10.2f}" for kind in ("cached", "live", "without_teacher") if kind in row]
    views = "  two views, plain training has one" if row["views"] > 1 else ""
    teacher = "" if "live" in row else "  no teacher"
    return f"{row['method']:<12}{''.join(cells)}{teacher}{views}"


def measure_limit(*, is_quick: bool) -> dict[str, Any]:
    """Return what memory_limit.py measures: a cache larger than the memory that the process may have."""
    command = [sys.executable, str(LIMIT_SCRIPT), "--json", *(["--quick"] if is_quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=",".join(MEASURED), help=f"of {', '.join(PAIRS)}, comma-separated")
    parser.add_argument("--methods", help="names, comma-separated; by default all")
    parser.add_argument("--without-limit", action="store_true", help="leave memory_limit.py out")
    parser.add_argument("--quick", action="store_true", help="small networks, to see that it works")
    parser.add_argument("--json", action="store_true", help="write results/memory.json, or print it with --quick")
    args = parser.parse_args()
    args.pairs = args.pairs.split(",")
    if unknown := [key for key in args.pairs if key not in PAIRS]:
        parser.error(f"unknown pair {unknown[0]!r}; the pairs are {', '.join(PAIRS)}")
    args.methods = args.methods.split(",") if args.methods else [name for name in method_names() if name != "plain"]
    try:
        for name in args.methods:
            method_class(name)
    except DropKDError as error:
        parser.error(str(error))
    return args


def main() -> None:
    """Measure, print tables, and keep the document."""
    args = read_arguments()
    torch.set_num_threads(1)

    def show(line: str) -> None:
        print(line, flush=True, file=sys.stderr if args.quick and args.json else sys.stdout)

    document: dict[str, Any] = describe_machine()
    for name, value in document.items():
        show(f"{name}: {value}")
    pairs = QUICK if args.quick else PAIRS
    document["pairs"] = [measure_pair(key, pairs[key], args.methods, show) for key in args.pairs]
    if LIMIT_SCRIPT.is_file() and not args.without_limit:
        document["limit"] = measure_limit(is_quick=args.quick)
    if args.json and args.quick:
        print(json.dumps(document, indent=2))
    elif args.json:
        show(f"\nwritten to {keep('memory', document)}")


if __name__ == "__main__":
    main()
