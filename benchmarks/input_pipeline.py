"""What reading, decoding and augmenting costs: dropkd's TrainLoader against torchvision's ImageFolder and a DataLoader.

    python benchmarks/input_pipeline.py [--rounds 5] [--workers 0 2] [--quick] [--json]

Both sides read the same files and make the same random changes (at 224 px a random resized crop of 35 to 100 % of the
area and a flip; at 32 px a crop from 4 px of padding and a flip), and both give batches of uint8 (what follows, floats
and normalisation, is left out on both sides). The photographs are parts of scikit-learn's two sample images, enlarged
where they must be. dropkd is measured as it decodes each time (`data.packed: off`; large JPEGs at a part of their size)
and as it keeps what it has decoded, in memory or on disk (`auto`), whose first pass is told apart; that both give the
same pixels is checked. What is counted is the time that the processor spent, in this process and in its workers: it
hardly depends on what else the machine does. Each round times one pass of each side in turn, and ratios are medians of
the rounds' ratios.

The second table is a plain training epoch at 32 px over the model's own time on random numbers; see `plain_epoch.py`.
`--json` keeps all figures in `results/input_pipeline.json`.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dropkd.data import Packing, Recipe, TrainLoader, drop_pack, keep_pixels, open_data
from plain_epoch import MODELS, measure_epochs
from record import describe_machine, keep

BATCH = 32
# Of a plain training epoch: eight steps.
EPOCH_IMAGES = 512
BOUND = {"32 px PNG": 10.0, "500 x 375 JPEG": 2.5, "2000 x 1500 JPEG": 2.5}
# One side of a comparison: gives the batches of an epoch.
Side = Callable[[int], Iterable[Any]]


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


def write_images(case: Case, folder: Path, seed: int) -> None:
    """Write parts of two photographs, half of them in each of two classes."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    shape, random = case.width / case.height, np.random.default_rng(seed)
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


def ours(case: Case, folder: Path, workers: int, mode: str) -> tuple[Side, str]:
    """Return what gives the batches of an epoch, and where what was decoded is kept."""
    data = open_data(folder)
    size = (case.view, case.view)
    splits, _ = keep_pixels([drop_pack(data.train, mode)], Packing(mode), case.recipe, size, epochs=30)
    split = splits[0]
    loader = TrainLoader(split, size=size, recipe=case.recipe, batch_size=BATCH, seed=0, workers=workers)
    return loader.epoch, "memory" if split.pack is not None else "disk" if split.kept is not None else "nowhere"


def theirs(case: Case, folder: Path, workers: int) -> Side:
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


def run_epoch(epoch: Side, number: int, passes: int) -> tuple[int, float, float]:
    """Return the images of some passes, their seconds of processor and of the clock."""
    images, spent, started = 0, cpu_seconds(), time.perf_counter()
    for one in range(passes):
        for batch in epoch(number * passes + one):
            images += len(batch.images if hasattr(batch, "images") else batch[0])
    return images, cpu_seconds() - spent, time.perf_counter() - started


def measure(case: Case, folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Return images a second of all sides and the ratios to torchvision."""
    decoding, _ = ours(case, folder, workers, "off")
    keeping, place = ours(case, folder, workers, "auto")
    # A pass over images in memory ends before the clock of processes has ticked often enough.
    sides = {
        "decoding": (decoding, 1),
        "keeping": (keeping, 10 if place == "memory" else 2),
        "torchvision": (theirs(case, folder, workers), 1),
    }
    first = {name: run_epoch(epoch, 0, 1) for name, (epoch, _) in sides.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, (epoch, passes) in sides.items():
            images, spent, passed = run_epoch(epoch, number, passes)
            rates[name].append((images / spent, images / passed))
    row = {
        "images": case.name,
        "count": case.count,
        "view": case.view,
        "workers": workers,
        "kept_in": place,
        "same_pixels": are_same(decoding, keeping),
        # A first pass starts workers, on all sides.
        "first_pass_ratio": round(first["keeping"][1] / first["torchvision"][1], 2),
        **{f"{name}_per_cpu_second": round(statistics.median(r[0] for r in rates[name])) for name in sides},
        "bound": BOUND[case.name],
    }
    for name in ("decoding", "keeping"):
        for key, column in (("ratio", 0), ("ratio_by_the_clock", 1)):
            pairs = zip(rates[name], rates["torchvision"], strict=True)
            found = [one[column] / other[column] for one, other in pairs]
            row[f"{name}_{key}"] = round(statistics.median(found), 2)
            row[f"{name}_{key}_range"] = [round(min(found), 2), round(max(found), 2)]
        row[f"{name}_holds"] = row[f"{name}_ratio"] >= BOUND[case.name]
    return row


def are_same(some: Side, others: Side) -> bool:
    """Whether both give the same images in the same order."""
    pairs = zip(some(999), others(999), strict=True)
    return all(torch.equal(one.images, other.images) and torch.equal(one.index, other.index) for one, other in pairs)


def format_tables(document: dict[str, Any]) -> str:
    """Return both tables as Markdown."""
    lines = [
        "| images | view | workers | torchvision | decoding | ratio | kept | ratio | of the rounds | by the clock "
        "| first pass | bound | held |",
        "|" + "---|" * 13,
    ]
    for row in document["loading"]:
        low, high = row["keeping_ratio_range"]
        held = [name for name in ("decoding", "keeping") if row[f"{name}_holds"]]
        lines.append(
            f"| {row['images']} | {row['view']} px | {row['workers']} | {row['torchvision_per_cpu_second']:,} | "
            f"{row['decoding_per_cpu_second']:,} | {row['decoding_ratio']:.2f} | "
            f"{row['keeping_per_cpu_second']:,} ({row['kept_in']}) | {row['keeping_ratio']:.2f} | "
            f"{low:.2f} to {high:.2f} | {row['keeping_ratio_by_the_clock']:.2f} | {row['first_pass_ratio']:.2f} | "
            f"{row['bound']:g} | {' and '.join(held) if held else '**no**'} |"
        )
    lines += ["", "| model | batch | its own time | epoch | ratio | quartiles | bound | held |", "|" + "---|" * 8]
    for row in document["epochs"]:
        quartiles = " to ".join(f"{value:.3f}" for value in row["quartiles"]) if row["quartiles"] else ""
        lines.append(
            f"| {row['model']} | {row['batch']} | {row['bare_seconds']:.3f} s | {row['epoch_seconds']:.3f} s | "
            f"{row['ratio']:.3f} | {quartiles} | {row['bound']:g} | {'yes' if row['kept'] else '**no**'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--quick", action="store_true", help="few images and one round, to see that it works")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("the time of workers that run is read from /proc, which only Linux has")
    torch.set_num_threads(1)
    rounds = 1 if options.quick else options.rounds
    cases = [replace(c, count=c.count // 16) if options.quick else c for c in list_cases()]
    document: dict[str, Any] = {**describe_machine(), "rounds": rounds, "loading": [], "epochs": []}
    with tempfile.TemporaryDirectory() as place:
        os.environ["DROPKD_CACHE"] = str(Path(place) / "cache")
        for case in cases:
            for workers in options.workers:
                # Each starts with nothing kept: other files, since it is by their content that images are found again.
                folder = Path(place) / f"{case.width}-{workers}"
                write_images(case, folder, seed=workers)
                document["loading"].append(measure(case, folder, workers, rounds))
        small = Path(place) / "epochs"
        write_images(replace(cases[0], count=min(cases[0].count, EPOCH_IMAGES)), small, seed=0)
        for model in ("cifar_resnet8",) if options.quick else MODELS:
            scratch = Path(place) / model
            scratch.mkdir()
            document["epochs"].append(measure_epochs(model, small, scratch, rounds))
    if options.json:
        print(json.dumps(document, indent=2))
        if not options.quick:
            keep("input_pipeline", document)
    else:
        print(format_tables(document))


if __name__ == "__main__":
    main()
