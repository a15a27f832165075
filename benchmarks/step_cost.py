"""What a step of distillation costs beside a step of plain training, with a live teacher and with its cache.

    python benchmarks/step_cost.py [--json] [--quick] [--pairs cifar,vit_s,vit_l] [--rounds 20] [--threads 1]

A step is the engine's own, as a run does it: the batch comes from the loader (its images are drawn before the clock
starts), the teacher is run (``live``) or its answer is read from its cache on disk (``cached``: the memory-mapped file,
its decoding, the copy), then forward, backward, the optimiser's step and the tally. Steps of plain training, cached and
live ones take turns, so that a busy machine slows all alike; what is given is the ratio of the medians, with the
quartiles of the ratios round by round. With one thread on a CPU it is the process's own time, else the clock's. A live
step takes long and its ratio is large, so it has fewer rounds. Images and weights are random: only time is measured,
and that each step's loss is a number and a cached answer that of the teacher.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dropkd.config import load_config
from dropkd.data import ImageData, LoadedBatch, open_data
from dropkd.engine.caching import open_cache
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.training import Training
from dropkd.errors import TrainingError
from dropkd.models import Network, build_network
from method_cost import time_in_turn
from record import describe_machine, keep

# What float16 may change of an answer, as a share of its largest number.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class PairOfNetworks:
    """Who learns from whom, on what, and what a step with a cached teacher may cost."""

    student: str
    teacher: str
    side: int
    batch: int
    classes: int
    optimizer: str
    bounds: dict[str, float]
    live_rounds: int


PAIRS = {
    "cifar": PairOfNetworks(
        "cifar_resnet20", "cifar_resnet56", side=32, batch=64, classes=100, optimizer="sgd",
        bounds={"kd": 1.05, "dkd": 1.05, "dropkd": 1.25, "reviewkd": 1.6}, live_rounds=10,
    ),
    "vit_s": PairOfNetworks(
        "mobilenetv2_100", "vit_small_patch16_224", side=224, batch=8, classes=8, optimizer="adamw",
        bounds={"kd": 1.05, "dkd": 1.05, "dropkd": 1.25, "reviewkd": 1.6}, live_rounds=3,
    ),
    "vit_l": PairOfNetworks(
        "mobilenetv2_100", "vit_large_patch14_clip_224", side=224, batch=8, classes=8, optimizer="adamw",
        bounds={"kd": 1.1, "dropkd": 1.3}, live_rounds=1,
    ),
}  # fmt: skip
# The same with networks and pictures that take seconds, for a test.
QUICK = {
    "cifar": replace(PAIRS["cifar"], student="cifar_resnet8", teacher="cifar_resnet20", batch=8, classes=4),
    "vit_s": replace(
        PAIRS["vit_s"], student="cifar_resnet8", teacher="vit_tiny_patch16_224", side=32, batch=4, classes=4,
        bounds={"kd": 1.05},
    ),
    "vit_l": replace(
        PAIRS["vit_l"], student="cifar_resnet8", teacher="vit_tiny_patch16_224", side=32, batch=4, classes=4
    ),
}  # fmt: skip


class Stepper:
    """A training of the engine that does steps when it is told to.

    Args:
        method: its method.
        pair: student, teacher and sizes.
        teacher: the teacher itself; None for plain training.
        data: the images.
        folder: where the cache is, and where a run would write.
        is_cached: whether the teacher's answers come from its cache, which is built where it is not there yet.
        device: where it trains.
    """

    def __init__(
        self,
        method: str,
        pair: PairOfNetworks,
        teacher: Network | None,
        data: ImageData,
        folder: Path,
        *,
        is_cached: bool,
        device: str = "cpu",
    ) -> None:
        flags = {
            "data.path": str(data.root), "data.validation_fraction": 0, "data.augmentation": "crop-flip",
            "data.distinct_views": 1, "student.name": pair.student, "student.pretrained": False, "method.name": method,
            "training.batch_size": pair.batch, "training.optimizer": pair.optimizer, "training.epochs": 30,
            "teacher_check": "off", "device": device, "cache.folder": str(folder),
            "cache.mode": "on" if is_cached else "off", "teacher.source": pair.teacher if teacher is not None else None,
        }  # fmt: skip
        job = prepare_job(load_config(flags=flags), Observer(), teacher=teacher, data=data)
        loader = job.train_loader()
        cached = open_cache(job, loader, Observer()) if is_cached else None
        self.training = Training(
            config=job.config,
            folder=folder,
            distiller=job.distiller,
            finetuning=job.finetuning,
            train_loader=loader,
            val_loader=None,
            test_loader=None,
            val_teacher=None,
            fabric=job.fabric,
            observer=Observer(),
            data_sha256="",
            cached=cached,
        )
        self.batches = list(loader.epoch(0))
        self.places = cycle(range(len(self.batches)))

    def step(self) -> None:
        """Do the next step, from the first one again after the last."""
        place = next(self.places)
        self.training.position.step = place
        self.training._step(self.batches[place])

    def check(self) -> None:
        """Raise where a loss was not finite, or where the cache does not answer as the teacher does."""
        self.training.tally.check_finite()
        batch: LoadedBatch = self.batches[0]
        read = self.training.recall(batch, 0)
        if read is None:
            return
        distiller = self.training.distiller
        asked = distiller.ask_teacher(self.training.prepare(batch, 0).images)
        if asked is None:
            raise TrainingError("a method that asks no teacher has a cache.")
        wanted = distiller.method.teacher_reads
        for name in sorted(wanted & {"logits", "embedding"}):
            kept, live = getattr(read, name), getattr(asked, name)
            if not float((kept - live).abs().max()) <= TOLERANCE * float(live.abs().max()):
                raise TrainingError(f"the cache's {name} are not the teacher's.")


def measure_method(
    method: str, pair: PairOfNetworks, teacher: Network, data: ImageData, folder: Path, rounds: int
) -> dict[str, Any]:
    """Return what a method's step takes beside a plain one."""
    plain = Stepper("plain", pair, None, data, folder, is_cached=False)
    cached = Stepper(method, pair, teacher, data, folder, is_cached=True)
    if cached.training.cached is None:
        raise TrainingError(f"no cache of {pair.teacher} could be opened for {method}.")
    row: dict[str, Any] = {"method": method, "bound": pair.bounds[method]}
    row.update(_compare("cached", plain.step, cached.step, rounds))
    cached.check()
    live = Stepper(method, pair, teacher, data, folder, is_cached=False)
    row.update(_compare("live", plain.step, live.step, max(1, min(rounds, pair.live_rounds))))
    live.check()
    row["within_bound"] = row["cached"]["time"] <= row["bound"]
    return row


def _compare(kind: str, plain: Callable[[], None], other: Callable[[], None], rounds: int) -> dict[str, Any]:
    base, times = time_in_turn([plain, other], rounds, torch.device("cpu"))
    ratios = [t / p for t, p in zip(times, base, strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
    found = {
        "time": statistics.median(times) / statistics.median(base),
        "quartiles": [lower, upper],
        "seconds": statistics.median(times),
        "plain_seconds": statistics.median(base),
        "rounds": rounds,
    }
    return {kind: found}


def measure_pair(key: str, pair: PairOfNetworks, rounds: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return what the methods cost for a pair, and show a line for each as it is measured."""
    show(f"\n{pair.teacher} -> {pair.student}, {pair.side} px, batch {pair.batch}, {pair.classes} classes")
    show(f"{'':<10}{'cached teacher':<28}{'live teacher':<28}bound of cached")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_images(folder / "images", pair)
        data = open_data(str(folder / "images"), seed=0, validation_fraction=0)
        teacher = build_network(pair.teacher, num_classes=pair.classes, image_size=pair.side, classes=data.classes)
        settle_norms(teacher, pair)
        rows = []
        for method in pair.bounds:
            rows.append(measure_method(method, pair, teacher, data, folder / "cache", rounds))
            show(format_row(rows[-1]))
    return {"pair": key, **asdict(pair), "methods": rows}


def write_images(folder: Path, pair: PairOfNetworks) -> None:
    """Write an image folder of two batches, as many of each class as it takes, and a test split of one image each."""
    numbers = np.random.default_rng(0)
    count = max(2 * pair.batch, pair.classes)
    for split, images in (("train", count), ("test", pair.classes)):
        for number in range(images):
            file = folder / split / f"class{number % pair.classes:03d}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbers.integers(0, 256, (pair.side, pair.side, 3), np.uint8)).save(file, compress_level=1)


@torch.no_grad()
def settle_norms(teacher: Network, pair: PairOfNetworks) -> None:
    """Let batch norms see images: with the statistics they start with, maps of random weights grow beyond float16."""
    norms = [module for module in teacher.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        teacher.train()(torch.rand(pair.batch, 3, pair.side, pair.side))
    teacher.eval()


def format_row(row: dict[str, Any]) -> str:
    """Return a line of the table."""
    cells = []
    for kind in ("cached", "live"):
        lower, upper = row[kind]["quartiles"]
        cells.append(f"{row[kind]['time']:6.3f} ({lower:.3f}-{upper:.3f})")
    kept = "kept" if row["within_bound"] else "not kept"
    return f"{row['method']:<10}{cells[0]:<28}{cells[1]:<28}{row['bound']:.2f} {kept}"


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default=",".join(PAIRS), help=f"of {', '.join(PAIRS)}, comma-separated")
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each kind, at least 2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small networks and two rounds, to see that it works")
    told = "write results/step_cost.json, of some pairs step_cost-PAIRS.json; print it with --quick"
    parser.add_argument("--json", action="store_true", help=told)
    args = parser.parse_args(arguments)
    args.pairs = args.pairs.split(",")
    if unknown := [key for key in args.pairs if key not in PAIRS]:
        parser.error(f"unknown pair {unknown[0]!r}; the pairs are {', '.join(PAIRS)}")
    if args.rounds < 2:
        parser.error("--rounds must be 2 at least, for the quartiles")
    return args


def main() -> None:
    """Measure, print a table, and keep the document."""
    args = read_arguments()
    torch.set_num_threads(args.threads)
    rounds = 2 if args.quick else args.rounds

    def show(line: str) -> None:
        print(line, flush=True, file=sys.stderr if args.quick and args.json else sys.stdout)

    document: dict[str, Any] = {
        **describe_machine(),
        "time": "the process's own time" if args.threads == 1 else "wall clock",
    }
    for line in _say(document):
        show(line)
    pairs = QUICK if args.quick else PAIRS
    document["pairs"] = [measure_pair(key, pairs[key], rounds, show) for key in args.pairs]
    if args.json and args.quick:
        print(json.dumps(document, indent=2))
    elif args.json:
        name = "step_cost" if set(args.pairs) == set(PAIRS) else f"step_cost-{'-'.join(args.pairs)}"
        show(f"\nwritten to {keep(name, document)}")


def _say(document: dict[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield f"{name}: {value}"


if __name__ == "__main__":
    main()
