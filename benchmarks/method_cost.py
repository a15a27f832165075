"""What each method costs beside plain training: time and memory of a step.

    python benchmarks/method_cost.py [--json] [--methods kd,at] [--pairs cifar] [--steps 30] [--batch 64] [--threads 1]

A step is forward, backward and SGD on the same random images, with channels last, as in training. Each method steps in
turn with plain training, so that a machine that is busy with other things slows both; the time is the ratio of the
medians, with the quartiles of the ratios round by round. With one thread on a CPU it is the process's own time, else
the clock's. ``cached``: the teacher's answer is there already and handed to the step; ``live``: the teacher is run.

Memory is what torch holds at the peak of a step: weights, buffers, momenta, images and the teacher's cached answer (or
its weights), and the most that was allocated on top during the step, as torch's profiler counts it (on a GPU, as its
allocator does). Methods of two views (MLD, EAC) are compared to plain training on one. The bounds are for the cached
teacher of the first pair at batch 64.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# The profiler says on each use that there is no GPU.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.engine.distiller import Distiller
from dropkd.errors import DropKDError
from dropkd.methods.registry import method_class, method_names
from dropkd.models import Network, build_network

CLASSES = 100
# Those of CIFAR-100: memories by sample have as many rows.
SAMPLES = 50_000
# By then warm-ups are over and relabelling has begun.
EPOCH = 30
WARMUP_STEPS = 2
BOUNDS = {
    "kd": 1.05,
    "dkd": 1.05,
    "dist": 1.05,
    "at": 1.10,
    "rkd": 1.10,
    "sp": 1.10,
    "dropkd": 1.25,
    "reviewkd": 1.6,
}


@dataclass(frozen=True)
class PairOfNetworks:
    """Who learns from whom, on images of what size, and how many of them a step has."""

    student: str
    teacher: str
    side: int
    batch: int


PAIRS = {
    "cifar": PairOfNetworks("cifar_resnet20", "cifar_resnet56", side=32, batch=64),
    # A batch that small computers can hold.
    "vit": PairOfNetworks("mobilenetv2_100", "vit_small_patch16_224", side=224, batch=8),
}


class Trainee:
    """A student in training, with the images of its steps."""

    def __init__(self, method: str, pair: PairOfNetworks, teacher: Network | None, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        targets = torch.randint(CLASSES, (SAMPLES,))
        student = build_network(pair.student, num_classes=CLASSES, image_size=pair.side)
        distiller = Distiller(student, teacher, method, targets=targets)
        self.distiller = distiller.to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(distiller.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.views = len(distiller.method.views)
        images = torch.rand(self.views * pair.batch, 3, pair.side, pair.side, device=device)
        self.images = images.to(memory_format=torch.channels_last)
        self.index = torch.arange(pair.batch, device=device).repeat(self.views)
        self.target = targets.to(device)[self.index]
        self.cached = distiller.ask_teacher(self.images)

    def step(self, teacher_outputs: Outputs | None) -> None:
        """Do one step, with the teacher's answer or, where it is None, with a pass of the teacher."""
        losses = self.distiller(self.images, self.target, self.index, EPOCH, None, teacher_outputs)
        losses.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def list_tensors(self, *, live: bool) -> Iterator[Tensor]:
        """Yield what is in memory between two steps."""
        yield from self.distiller.state_dict().values()
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
        yield from (self.images, self.index, self.target)
        teacher = self.distiller.teacher
        if self.cached is None or teacher is None:
            return
        if live:
            yield from teacher.state_dict().values()
            return
        answer = self.cached
        weight = [] if answer.classifier is None else [answer.classifier]
        yield from (answer.logits, *answer.maps, answer.embedding, *answer.preactivations, *weight)


def measure_method(name: str, pair: PairOfNetworks, device: torch.device, steps: int) -> dict[str, Any]:
    """Return what a method's step takes beside a plain one, with a cached and with a live teacher."""
    torch.manual_seed(0)
    teacher = build_network(pair.teacher, num_classes=CLASSES, image_size=pair.side)
    teacher.to(device).to(memory_format=torch.channels_last)
    trainee = Trainee(name, pair, teacher, device)
    plain = Trainee("plain", pair, None, device)
    kinds: dict[str, Callable[[], None]] = {"plain": lambda: plain.step(None)}
    kinds["cached" if trainee.cached is not None else "without_teacher"] = lambda: trainee.step(trainee.cached)
    if trainee.cached is not None:
        kinds["live"] = lambda: trainee.step(None)
    seconds = time_in_turn(list(kinds.values()), steps, device)
    row: dict[str, Any] = {"method": name, "views": trainee.views}
    base = statistics.median(seconds[0])
    base_bytes = measure_peak(plain, kinds["plain"], live=False)
    row["plain"] = {"seconds": base, "bytes": base_bytes}
    for (kind, step), times in zip(list(kinds.items())[1:], seconds[1:], strict=True):
        peak = measure_peak(trainee, step, live=kind == "live")
        lower, _, upper = statistics.quantiles([t / p for t, p in zip(times, seconds[0], strict=True)], n=4)
        row[kind] = {
            "time": statistics.median(times) / base,
            "time_quartiles": [lower, upper],
            "seconds": statistics.median(times),
            "memory": peak / base_bytes,
            "bytes": peak,
        }
    return row


def time_in_turn(steps: Sequence[Callable[[], None]], rounds: int, device: torch.device) -> list[list[float]]:
    """Return the seconds of each step in each round."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(WARMUP_STEPS):
        for step in steps:
            step()
    seconds: list[list[float]] = [[] for _ in steps]
    for number in range(rounds):
        # Each follows each, so that what one leaves in the caches is no one's gain.
        for place in range(len(steps)):
            which = (place + number) % len(steps)
            _wait(device)
            start = clock()
            steps[which]()
            _wait(device)
            seconds[which].append(clock() - start)
    return seconds


def measure_peak(trainee: Trainee, step: Callable[[], None], *, live: bool) -> int:
    """Return the bytes that torch holds at the peak of a step."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in trainee.list_tensors(live=live)}
    return sum(storages.values()) + measure_allocated(step, trainee.device)


def measure_allocated(step: Callable[[], None], device: torch.device) -> int:
    """Return the most bytes that a step has allocated at one time."""
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        _wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    results: Any = profiler.profiler
    held = peak = 0
    for _, size in sorted(_list_allocations(results.kineto_results.experimental_event_tree())):
        held += size
        peak = max(peak, held)
    return peak


def _list_allocations(events: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield time and size of each allocation in a tree of events; a size below zero gives memory back."""
    for event in events:
        if event.tag == torch._C._profiler._EventType.Allocation:
            yield event.start_time_ns, event.typed[1].alloc_size
        yield from _list_allocations(event.children)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def judge(key: str, pair: PairOfNetworks, row: dict[str, Any]) -> None:
    """Note the bound of a method's time where there is one, and whether it is kept."""
    if key == "cifar" and pair.batch == PAIRS["cifar"].batch and row["method"] in BOUNDS and "cached" in row:
        row["bound"] = BOUNDS[row["method"]]
        row["within_bound"] = row["cached"]["time"] <= row["bound"]


def format_row(row: dict[str, Any]) -> str:
    """Return a line of the table."""
    if "refused" in row:
        return f"{row['method']:<11}{row['refused']}"
    cells = []
    for kind in ("cached", "live"):
        found = row.get(kind, row.get("without_teacher") if kind == "cached" else None)
        if found is None:
            cells.append("no teacher")
            continue
        lower, upper = found["time_quartiles"]
        cells.append(f"{found['time']:5.2f} ({lower:5.2f}-{upper:5.2f}) {found['memory']:8.2f}")
    bound = f"{row['bound']:.2f} {'yes' if row['within_bound'] else 'no'}" if "bound" in row else ""
    views = "two views, plain training has one" if row["views"] > 1 else ""
    return f"{row['method']:<11}{cells[0]:<30}{cells[1]:<30}{bound:<10}{views}".rstrip()


def measure_pair(
    key: str, pair: PairOfNetworks, names: Sequence[str], device: torch.device, steps: int, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return what the methods cost for a pair, and show a line for each as it is measured."""
    show(
        f"\n{pair.teacher} -> {pair.student}, {pair.side} px, batch {pair.batch}, {CLASSES} classes, {SAMPLES} samples"
    )
    show("Time and memory over plain training; in brackets the quartiles of the time.")
    show(f"{'':<11}{'cached teacher':<30}{'live teacher':<30}bound")
    rows = []
    for name in names:
        try:
            row = measure_method(name, pair, device, steps)
        except DropKDError as error:
            row = {"method": name, "refused": str(error)}
        judge(key, pair, row)
        rows.append(row)
        show(format_row(row))
        gc.collect()
    return {**asdict(pair), "classes": CLASSES, "samples": SAMPLES, "plain_views": 1, "methods": rows}


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", help="names, comma-separated; by default all")
    parser.add_argument("--pairs", default=",".join(PAIRS), help=f"of {', '.join(PAIRS)}, comma-separated")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each kind, at least 2")
    parser.add_argument("--batch", type=int, help="images a step, for all pairs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
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
    if args.steps < 2:
        parser.error("--steps must be 2 at least, for the quartiles")
    return args


def main() -> None:
    """Measure, and print a table or one JSON document."""
    args = read_arguments()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    document: dict[str, Any] = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "threads": args.threads,
        "steps": args.steps,
        "time": "the process's own time" if not on_gpu and args.threads == 1 else "wall clock",
        "memory": f"bytes of torch at the peak of a step, by its {'allocator' if on_gpu else 'profiler'}",
    }

    def show(line: str) -> None:
        if not args.json:
            print(line, flush=True)

    for name, value in document.items():
        show(f"{name}: {value}")
    pairs = {key: replace(PAIRS[key], batch=args.batch or PAIRS[key].batch) for key in args.pairs}
    document["pairs"] = [measure_pair(key, pair, args.methods, device, args.steps, show) for key, pair in pairs.items()]
    if args.json:
        print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
