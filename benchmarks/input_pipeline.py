"""What reading, decoding and augmenting costs: dropkd's TrainLoader against torchvision's ImageFolder and a DataLoader.

    python benchmarks/input_pipeline.py [--rounds 5] [--workers 0 2] [--json]

Both sides read the same files and make the same random changes (at 224 px a random resized crop of 35 to 100 % of the
area and a flip; at 32 px a crop from 4 px of padding and a flip), and both give batches of uint8 (what follows, floats
and normalisation, is left out on both sides). The photographs are parts of scikit-learn's two sample images, enlarged
where they must be. What is counted is the time that the processor spent, in this process and in its workers: it hardly
depends on what else the machine does. Each round times one pass of both sides in turn, the first round is not counted,
and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dropkd.data import Recipe, TrainLoader, open_data

BATCH = 32
BOUND = {"32 px PNG": 10.0, "500 x 375 JPEG": 2.5, "2000 x 1500 JPEG": 2.5}


@dataclass(frozen=True)
class Case:
    """Files of one kind and what is made of them."""

    name: str
    width: int
    height: int
    suffix: str
    count: int
    view: int
    recipe: Recipe
    transform: Callable[[Any], Any]


def list_cases() -> list[Case]:
    """Return what is measured."""
    crop_flip = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    resized = [v2.RandomResizedCrop(224, scale=(0.35, 1.0)), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    photos = Recipe("resized", crop_scale=(0.35, 1.0))
    return [
        Case("32 px PNG", 32, 32, "png", 2048, 32, Recipe(crop_padding=4), v2.Compose(crop_flip)),
        Case("500 x 375 JPEG", 500, 375, "jpg", 256, 224, photos, v2.Compose(resized)),
        Case("2000 x 1500 JPEG", 2000, 1500, "jpg", 64, 224, photos, v2.Compose(resized)),
    ]


def write_images(case: Case, folder: Path) -> None:
    """Write parts of two photographs, half of them in each of two classes."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    shape, random = case.width / case.height, np.random.default_rng(0)
    for number in range(case.count):
        high = random.uniform(200, 427)
        wide = high * shape
        left, top = random.uniform(0, 640 - wide), random.uniform(0, 427 - high)
        box = (left, top, left + wide, top + high)
        part = photos[number % 2].resize((case.width, case.height), Image.Resampling.BICUBIC, box=box)
        # A sensor's noise: without it an enlarged photograph has less to decode than a real one.
        noisy = np.asarray(part) + random.normal(0, 3, (case.height, case.width, 1))
        # A set whose splits are there is not cut into some.
        for split in ("train", "val") if number < 4 else ("train",):
            path = folder / split / str(number % 2) / f"{number}.{case.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def ours(case: Case, folder: Path, workers: int) -> Callable[[int], Iterable[Any]]:
    """Return what gives the batches of an epoch."""
    data = open_data(folder)
    loader = TrainLoader(
        data.train, size=(case.view, case.view), recipe=case.recipe, batch_size=BATCH, seed=0, workers=workers
    )
    return loader.epoch


def theirs(case: Case, folder: Path, workers: int) -> Callable[[int], Iterable[Any]]:
    """Return the same of torchvision, set up well: workers that stay."""
    loader = DataLoader(
        ImageFolder(folder / "train", case.transform),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda epoch: loader


def _cpu_seconds_of(pid: int) -> float:
    """Return what a process that still runs has spent, as Linux tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Return the seconds of processor that this process, its ended children and those that run have spent."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return total + sum(_cpu_seconds_of(int(pid)) for pid in children.read_text().split())


def run_epoch(epoch: Callable[[int], Iterable[Any]], number: int, passes: int) -> tuple[int, float, float]:
    """Return the images of some passes, their seconds of processor and of the clock."""
    images, spent, started = 0, cpu_seconds(), time.perf_counter()
    for one in range(passes):
        for batch in epoch(number * passes + one):
            images += len(batch.images if hasattr(batch, "images") else batch[0])
    return images, cpu_seconds() - spent, time.perf_counter() - started


def measure(case: Case, folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Return images a second of both sides and their ratio."""
    # A packed pass is over before the clock of processes has ticked often enough.
    sides = {
        "dropkd": (ours(case, folder, workers), 10 if case.suffix == "png" else 1),
        "torchvision": (theirs(case, folder, workers), 1),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, (epoch, passes) in sides.items():
            images, spent, passed = run_epoch(epoch, number, passes)
            # The first round starts workers and fills caches.
            if number:
                rates[name].append((images / spent, images / passed))
    ratios = [one[0] / other[0] for one, other in zip(rates["dropkd"], rates["torchvision"], strict=True)]
    clock = [one[1] / other[1] for one, other in zip(rates["dropkd"], rates["torchvision"], strict=True)]
    return {
        "images": case.name,
        "view": case.view,
        "workers": workers,
        **{f"{name}_per_cpu_second": round(statistics.median(r[0] for r in rates[name])) for name in sides},
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
        "ratio_by_the_clock": round(statistics.median(clock), 2),
        "bound": BOUND[case.name],
        "kept": statistics.median(ratios) >= BOUND[case.name],
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("the time of workers that run is read from /proc, which only Linux has")
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for case in list_cases():
            folder = Path(place) / case.name.replace(" ", "")
            folder.mkdir()
            write_images(case, folder)
            rows += [measure(case, folder, workers, options.rounds) for workers in options.workers]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| images | view | workers | dropkd | torchvision | ratio | of the rounds | by the clock | bound | kept |")
    print("|" + "---|" * 10)
    for row in rows:
        print(
            f"| {row['images']} | {row['view']} px | {row['workers']} | {row['dropkd_per_cpu_second']:,} | "
            f"{row['torchvision_per_cpu_second']:,} | {row['ratio']:.2f} | {row['least']:.2f} to {row['most']:.2f} | "
            f"{row['ratio_by_the_clock']:.2f} | {row['bound']:g} | {'yes' if row['kept'] else '**no**'} |"
        )


if __name__ == "__main__":
    main()
