"""What a sweep costs as one group beside as many runs with a live teacher: 6 DropKD runs, three rates and two seeds.

    python benchmarks/sweep_cost.py [--teacher vit_large_patch14_clip_224] [--images 24] [--epochs 2] [--quick] [--json]

Both ways are really run, from the first to the last file of each run: six times `dropkd.distill` without a cache, each
of which opens its teacher and asks it in every step; and one `dropkd.distill_many`, which opens it once, asks it once
about each view of each image, and trains the rates of a seed side by side. The group has as many views as epochs, as
the separate runs have, so it loses nothing but float16's rounding: the losses of both ways are compared step by step.

The images are JPEG cut-outs of two photographs, the networks' weights are random: what is measured is time, the
process's own with its children's, on one thread, so that a busy machine matters little. A separate run would start a
process of its own as well, which is not counted. `--json` keeps the figures in `results/sweep_cost.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import dropkd
from dropkd.engine.observer import Observer
from dropkd.models import build_network, save_network
from record import describe_machine, keep

RATES, SEEDS = (0.3, 0.5, 0.7), (0, 1)
CLASSES = ("one", "two", "three", "four")
BOUND = 4.0


@dataclass(frozen=True)
class Sweep:
    """What is trained on what."""

    teacher: str
    student: str
    side: int
    images: int
    batch: int
    epochs: int


DEFAULT = Sweep("vit_large_patch14_clip_224", "mobilenetv2_100", side=224, images=32, batch=8, epochs=2)
QUICK = Sweep("vit_small_patch16_224", "cifar_resnet8", side=64, images=16, batch=8, epochs=2)


class Watch(Observer):
    """Notes the process's time at the turns of a run or of a group."""

    def __init__(self) -> None:
        self.began = self.stepping = self.stepped = processor_seconds()
        self.asking = 0.0
        self._asked = self.began

    def on_start(self, **_: Any) -> None:
        """The steps of the first run begin."""
        if self.stepping == self.began:
            self.stepping = processor_seconds()

    def on_message(self, text: str) -> None:
        """A cache's price is said just before it is built."""
        if text.startswith("Teacher cache:"):
            self._asked = processor_seconds()

    def on_phase(self, name: str, done: int, total: int) -> None:
        """The cache is built."""
        if name == "Asking the teacher" and done == total:
            self.asking += processor_seconds() - self._asked

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """The steps of an epoch are done."""
        self.stepped = processor_seconds()

    def parts(self) -> dict[str, float]:
        """Return the seconds of what has just ended."""
        end = processor_seconds()
        return {
            "before_steps": self.stepping - self.began - self.asking,
            "asking_for_the_cache": self.asking,
            "steps": self.stepped - self.stepping,
            "end": end - self.stepped,
            "all": end - self.began,
        }


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
        write_photographs(self.data, sweep.images, sweep.side)
        torch.manual_seed(0)
        network = build_network(
            sweep.teacher, num_classes=len(CLASSES), image_size=sweep.side, classes=tuple(sorted(CLASSES))
        )
        save_network(network.eval(), self.teacher)

    def shared(self, watch: Watch) -> dict[str, Any]:
        """Return the arguments that are the same in all runs."""
        return {
            "epochs": self.sweep.epochs, "batch_size": self.sweep.batch, "image_size": self.sweep.side,
            "device": "cpu", "pretrained": False, "observer": watch,
        }  # fmt: skip

    def settings(self, cache: str) -> dict[str, Any]:
        """Return the settings that are the same in all runs."""
        return {
            "teacher_check": "off", "data.validation_fraction": 0.0, "data.workers": 0, "threads": 1,
            "data.view_seed": SEEDS[0], "data.split_seed": SEEDS[0],
            "cache.mode": cache, "cache.folder": str(self.folder / "caches"),
        }  # fmt: skip

    def train_live(self, rate: float, seed: int) -> dict[str, float]:
        """Carry out one run by itself, its teacher asked in every step."""
        watch = Watch()
        dropkd.distill(
            self.data, teacher=str(self.teacher), student=self.sweep.student, seed=seed,
            output=self.folder / name_run(self.sweep, rate, seed), settings={**self.settings("off"), **set_rate(rate)},
            **self.shared(watch),
        )  # fmt: skip
        return watch.parts()

    def train_plain(self) -> dict[str, float]:
        """Carry out one run without a teacher, for scale."""
        watch = Watch()
        settings = {key: value for key, value in self.settings("off").items() if key != "teacher_check"}
        dropkd.train(
            self.data, model=self.sweep.student, output=self.folder / "plain", settings=settings, **self.shared(watch)
        )
        return watch.parts()

    def train_group(self) -> dict[str, float]:
        """Carry out all runs as one group."""
        watch = Watch()
        group = dropkd.distill_many(
            self.data, teacher=str(self.teacher), students=[self.sweep.student], seeds=SEEDS,
            variants={f"rate{rate}": set_rate(rate) for rate in RATES}, output=self.folder / "group",
            settings=self.settings("on"), **self.shared(watch),
        )  # fmt: skip
        if not group.is_finished:
            raise SystemExit(f"the group failed: {group.failures}")
        return watch.parts()

    def compare_losses(self) -> float:
        """Return by how much the two ways differ at most in a step's loss, as a share of it."""
        shares = [0.0]
        for rate, seed in product(RATES, SEEDS):
            name = name_run(self.sweep, rate, seed)
            live, kept = (_read_losses(folder / name) for folder in (self.folder, self.folder / "group"))
            if len(live) != len(kept) or not live:
                raise SystemExit(f"{name}: {len(live)} steps were logged live and {len(kept)} in the group")
            shares += [abs(one - other) / abs(one) for one, other in zip(live, kept, strict=True)]
        return max(shares)


def set_rate(rate: float) -> dict[str, float]:
    """Return the settings of a variant."""
    return {"method.feature_rate_teacher": rate, "method.feature_rate_student": rate}


def name_run(sweep: Sweep, rate: float, seed: int) -> str:
    """Return the name of a run's folder, as the group gives it."""
    return f"{sweep.student}-rate{rate}-seed{seed}"


def _read_losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]


def measure(sweep: Sweep, folder: Path, show: Callable[[str], None]) -> dict[str, Any]:
    """Return all that was measured."""
    bench = Bench(sweep, folder)
    found: dict[str, Any] = {"plain": bench.train_plain(), "live": []}
    show(_say("plain run", found["plain"]))
    for rate, seed in product(RATES, SEEDS):
        found["live"].append({"rate": rate, "seed": seed, **bench.train_live(rate, seed)})
        show(_say(f"live, rate {rate}, seed {seed}", found["live"][-1]))
    found["group"] = bench.train_group()
    show(_say("group of all six", found["group"]))
    live = sum(run["all"] for run in found["live"])
    return {
        "seconds": found,
        "live_seconds": live,
        "group_seconds": found["group"]["all"],
        "ratio": live / found["group"]["all"],
        "largest_difference_of_a_loss": bench.compare_losses(),
        "bound": BOUND,
    }


def _say(name: str, parts: Mapping[str, float]) -> str:
    asking = f"asking for the cache {parts['asking_for_the_cache']:.1f}, " if parts["asking_for_the_cache"] else ""
    return (
        f"{name}: {parts['all']:.1f} s (before the first step {parts['before_steps']:.1f}, {asking}"
        f"steps {parts['steps']:.1f}, end {parts['end']:.1f})"
    )


def format_table(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what is printed at the end."""
    kept = "yes" if document["ratio"] >= document["bound"] else "no"
    yield f"six separate runs {document['live_seconds']:.1f} s, one group {document['group_seconds']:.1f} s"
    yield f"ratio {document['ratio']:.2f}  >= {document['bound']:g}: {kept}"
    yield f"losses differ by {100 * document['largest_difference_of_a_loss']:.3f} % at most"


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", help=f"a vision transformer; by default {DEFAULT.teacher}")
    parser.add_argument("--student", help=f"by default {DEFAULT.student}")
    parser.add_argument("--images", type=int, help=f"for training; by default {DEFAULT.images}")
    parser.add_argument("--epochs", type=int, help=f"by default {DEFAULT.epochs}")
    parser.add_argument("--quick", action="store_true", help=f"small networks at {QUICK.side} px; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and keep it in results/")
    args = parser.parse_args()
    if (args.epochs or 1) < 1 or (args.images or len(CLASSES)) < len(CLASSES):
        parser.error(f"at least 1 epoch and {len(CLASSES)} images, one a class")
    return args


def main() -> None:
    """Measure, and print a table or one JSON document."""
    args = read_arguments()
    torch.set_num_threads(1)
    given = {key: getattr(args, key) for key in ("teacher", "student", "images", "epochs")}
    sweep = replace(QUICK if args.quick else DEFAULT, **{key: value for key, value in given.items() if value})

    def show(line: str) -> None:
        print(line, flush=True, file=sys.stderr if args.json else sys.stdout)

    show(f"{sweep.teacher} -> {sweep.student}, {sweep.side} px, {sweep.images} images, {sweep.epochs} epochs, "
         f"batch {sweep.batch}, torch {torch.__version__}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        document = {
            **describe_machine(),
            "time": "seconds of the process and its children",
            **asdict(sweep),
            **measure(sweep, Path(folder), show),
        }
    for line in format_table(document):
        show(line)
    if args.json:
        print(json.dumps(document, indent=2))
        if not args.quick:
            keep("sweep_cost", document)


if __name__ == "__main__":
    main()
