"""What a sweep costs with one teacher's cache beside a live teacher: 6 DropKD runs, three rates and two seeds.

    python benchmarks/sweep_cost.py [--teacher vit_large_patch14_clip_224] [--measured 2] [--quick] [--json]

The images are JPEG cut-outs of two photographs, the networks' weights are random: only time is measured, the process's
own with its children's, on one thread, so that a busy machine matters little. The runs are those that a user would
start (`dropkd.distill`, `dropkd.api.build_cache`); all share their views. First so many of the six (`--measured`; the
sum is multiplied) ask the teacher in every step, then the same ones read one cache. A run's parts are its start (data,
networks, and what of the teacher's answers is tried and compared), its steps with reading the images, and its end.
The cache is built with as many views as epochs; half as many take half the time of the asking.

So few images make the starts the larger part of a cached run. The second table puts the measured parts together for a
training of a usual length, where each run's start asks the teacher about a thousand training images, live or cached:
that is how it is judged where there is no large validation split.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import dropkd
from dropkd.api import build_cache
from dropkd.config import load_config
from dropkd.engine.observer import Observer
from dropkd.models import build_network, open_teacher, save_network

RATES, SEEDS = (0.3, 0.5, 0.7), (0, 1)
CLASSES = ("one", "two", "three", "four")
BOUND = 4.0
# Images and epochs of a training of a usual length.
USUAL = (1_000, 30)
# Training images that a start judges the teacher by, where there are so many.
JUDGED = 1_000


@dataclass(frozen=True)
class Sweep:
    """What is trained on what."""

    teacher: str
    student: str
    side: int
    images: int
    batch: int
    epochs: int
    measured: int


DEFAULT = Sweep("vit_large_patch14_clip_224", "mobilenetv2_100", side=224, images=24, batch=8, epochs=2, measured=2)
QUICK = Sweep("vit_tiny_patch16_224", "cifar_resnet8", side=64, images=16, batch=8, epochs=2, measured=1)


class Watch(Observer):
    """Notes the process's time at the turns of a run or of a build."""

    def __init__(self) -> None:
        self.began = self.stepping = self.stepped = self.asking = processor_seconds()
        self.steps = 0

    def on_start(self, *, epochs: int, steps_per_epoch: int, **_: Any) -> None:
        """The steps begin."""
        self.stepping = processor_seconds()
        self.steps = epochs * steps_per_epoch

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """The steps of an epoch are done."""
        self.stepped = processor_seconds()

    def on_message(self, text: str) -> None:
        """A cache's price is said just before it is built."""
        if text.startswith("Teacher cache:"):
            self.asking = processor_seconds()

    def parts(self) -> dict[str, float]:
        """Return the seconds of a run that has just ended."""
        end = processor_seconds() - self.stepped
        return {"start": self.stepping - self.began, "steps": self.stepped - self.stepping, "end": end}


def processor_seconds() -> float:
    """Return what this process and its children have computed so far."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def write_photographs(folder: Path, count: int, side: int) -> None:
    """Write so many training images, and a test image of each class."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    width = side * 3 // 2
    for number in range(count + len(CLASSES)):
        split, name = "train" if number < count else "test", CLASSES[number % len(CLASSES)]
        left, top = 7 * number % 200, 5 * number % 100
        place = folder / split / name
        place.mkdir(parents=True, exist_ok=True)
        photo = photos[number % 2].crop((left, top, left + 320, top + 320)).resize((width, width))
        photo.save(place / f"{number:04d}.jpg", quality=90)


class Bench:
    """The sweep's runs, in a folder of their own."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.sweep, self.folder = sweep, folder
        self.data, self.teacher = folder / "photographs", folder / "teacher.safetensors"
        self.caches = folder / "caches"
        write_photographs(self.data, sweep.images, sweep.side)
        torch.manual_seed(0)
        network = build_network(
            sweep.teacher, num_classes=len(CLASSES), image_size=sweep.side, classes=tuple(sorted(CLASSES))
        )
        save_network(network.eval(), self.teacher)

    def settings(self, rate: float, cache: str) -> dict[str, Any]:
        """Return what the runs differ in, and what they share."""
        return {
            **({} if cache == "plain" else {"method.feature_rate_teacher": rate, "method.feature_rate_student": rate}),
            "data.view_seed": 0,
            "data.split_seed": 0,
            "data.validation_fraction": 0.0,
            "data.workers": 0,
            "threads": 1,
            "cache.mode": "on" if cache == "cached" else "off",
            "cache.folder": str(self.caches),
        }

    def train(self, kind: str, rate: float, seed: int) -> dict[str, float]:
        """Return the seconds of a run's parts and its number of steps; ``kind``: live, cached or plain."""
        watch, sweep = Watch(), self.sweep
        shared: dict[str, Any] = {
            "output": self.folder / f"{kind}-{rate}-{seed}", "epochs": sweep.epochs, "batch_size": sweep.batch,
            "image_size": sweep.side, "seed": seed, "device": "cpu", "pretrained": False, "observer": watch,
            "settings": self.settings(rate, kind),
        }  # fmt: skip
        if kind == "plain":
            dropkd.train(self.data, model=sweep.student, **shared)
        else:
            dropkd.distill(self.data, teacher=str(self.teacher), student=sweep.student, teacher_check="off", **shared)
        return {**watch.parts(), "number_of_steps": watch.steps}

    def build(self) -> dict[str, float]:
        """Build the cache with as many views as epochs; return the seconds of its start and of the asking."""
        sweep, watch = self.sweep, Watch()
        flags = {
            "data.path": str(self.data), "data.image_size": sweep.side, "student.name": sweep.student,
            "student.pretrained": False, "teacher.source": str(self.teacher), "teacher_check": "off",
            "method.name": "dropkd",
            "training.epochs": sweep.epochs, "training.batch_size": sweep.batch, "device": "cpu", "seed": 0,
        }  # fmt: skip
        build_cache(load_config(flags={**flags, **self.settings(RATES[0], "cached")}), observer=watch)
        return {"start": watch.asking - watch.began, "asking": processor_seconds() - watch.asking}

    def open_teacher(self) -> float:
        """Return the seconds that it takes to have the teacher in memory."""
        started = processor_seconds()
        open_teacher(str(self.teacher), num_classes=len(CLASSES), image_size=self.sweep.side)
        return processor_seconds() - started


def measure(sweep: Sweep, folder: Path, show: Callable[[str], None]) -> dict[str, Any]:
    """Return all that was measured, and what follows from it."""
    bench = Bench(sweep, folder)
    runs = list(product(RATES, SEEDS))
    # Spread over rates and seeds.
    chosen = [runs[number * len(runs) // sweep.measured] for number in range(sweep.measured)]
    found: dict[str, list[dict[str, float]]] = {"plain": [bench.train("plain", 0.0, 0)], "live": [], "cached": []}
    opening = bench.open_teacher()
    build: dict[str, float] = {}
    for kind in ("live", "cached"):
        if kind == "cached":
            build = bench.build()
            show(f"cache built: {build['start'] + build['asking']:.1f} s")
        for rate, seed in chosen:
            found[kind].append(bench.train(kind, rate, seed))
            show(f"{kind}, rate {rate}, seed {seed}: " + ", ".join(_say(found[kind][-1])))
    step = {kind: statistics.mean(r["steps"] / r["number_of_steps"] for r in rows) for kind, rows in found.items()}
    parts = {kind: {part: statistics.mean(r[part] for r in rows) for part in ("start", "steps", "end")}
             for kind, rows in found.items()}  # fmt: skip
    bench_parts = {"parts": parts, "build": build, "step": step}
    return {
        "runs": {"measured": chosen, "of": len(runs)},
        "seconds": {"teacher_opened": opening, **bench_parts},
        "step_over_plain": {kind: step[kind] / step["plain"] for kind in ("live", "cached")},
        "as_measured": _compare(sweep, bench_parts, sweep.images, sweep.epochs),
        "usual": {"images": USUAL[0], "epochs": USUAL[1], **_compare(sweep, bench_parts, *USUAL)},
    }


def _say(row: Mapping[str, float]) -> Iterator[str]:
    for part in ("start", "steps", "end"):
        yield f"{part} {row[part]:.1f} s"


def _compare(sweep: Sweep, found: Mapping[str, Any], images: int, epochs: int) -> dict[str, dict[str, float]]:
    """Return what the whole sweep costs live over cached, for so many images and epochs."""
    runs, steps = len(RATES) * len(SEEDS), epochs * images / sweep.batch
    parts, build = found["parts"], found["build"]

    per_answer = build["asking"] / (sweep.images * sweep.epochs)
    # A measured start has judged the teacher by all of its few images.
    judging = per_answer * (min(images, JUDGED) - min(sweep.images, JUDGED))

    def cost(kind: str) -> float:
        one: float = parts[kind]["start"] + judging + steps * found["step"][kind] + parts[kind]["end"]
        return runs * one

    rows = {}
    for name, views in (("views = epochs", epochs), ("views = epochs / 2", max(1, epochs // 2))):
        cached = build["start"] + views * images * per_answer + cost("cached")
        rows[name] = {"live": cost("live"), "cached": cached, "ratio": cost("live") / cached}
    return rows


def format_table(sweep: Sweep, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what is printed."""
    over, seconds = document["step_over_plain"], document["seconds"]
    yield f"a step over a plain one: live {over['live']:.2f}, cached {over['cached']:.2f}"
    yield f"teacher opened: {seconds['teacher_opened']:.1f} s"
    for kind, parts in seconds["parts"].items():
        yield f"{kind:<7} run: " + ", ".join(_say(parts))
    for key, images, epochs in (("as_measured", sweep.images, sweep.epochs), ("usual", *USUAL)):
        basis = "measured" if key == "as_measured" else "from the measured parts"
        yield f"{images:,} images, {epochs} epochs ({basis}):"
        for name, row in document[key].items():
            if isinstance(row, dict):
                yield (
                    f"  {name:<19} live {row['live']:10,.0f} s  cached {row['cached']:10,.0f} s  "
                    f"ratio {row['ratio']:.2f}  >= {BOUND:g}: {'yes' if row['ratio'] >= BOUND else 'no'}"
                )


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", help=f"a vision transformer; by default {DEFAULT.teacher}")
    parser.add_argument("--student", help=f"by default {DEFAULT.student}")
    parser.add_argument("--images", type=int, help=f"for training; by default {DEFAULT.images}")
    parser.add_argument("--epochs", type=int, help=f"by default {DEFAULT.epochs}")
    parser.add_argument("--measured", type=int, help=f"runs of each kind; by default {DEFAULT.measured} of 6")
    parser.add_argument("--quick", action="store_true", help=f"small networks at {QUICK.side} px")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    if args.measured is not None and not 1 <= args.measured <= len(RATES) * len(SEEDS):
        parser.error(f"--measured must be 1 to {len(RATES) * len(SEEDS)}")
    if (args.epochs or 1) < 1 or (args.images or len(CLASSES)) < len(CLASSES):
        parser.error(f"at least 1 epoch and {len(CLASSES)} images, one a class")
    return args


def main() -> None:
    """Measure, and print tables or one JSON document."""
    args = read_arguments()
    torch.set_num_threads(1)
    given = {key: getattr(args, key) for key in ("teacher", "student", "images", "epochs", "measured")}
    sweep = replace(QUICK if args.quick else DEFAULT, **{key: value for key, value in given.items() if value})

    def show(line: str) -> None:
        print(line, flush=True, file=sys.stderr if args.json else sys.stdout)

    show(f"{sweep.teacher} -> {sweep.student}, {sweep.side} px, batch {sweep.batch}, torch {torch.__version__}")
    show(f"{sweep.measured} of {len(RATES) * len(SEEDS)} runs of each kind are measured, and their mean is multiplied")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        document = {
            "torch": torch.__version__,
            "device": platform.processor() or platform.machine(),
            "threads": 1,
            "time": "seconds of the process and its children",
            **asdict(sweep),
            **measure(sweep, Path(folder), show),
            "bound": BOUND,
        }
    document["processor_seconds"], document["wall_seconds"] = processor_seconds(), time.monotonic() - started
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for line in format_table(sweep, document):
        print(line)


if __name__ == "__main__":
    main()
