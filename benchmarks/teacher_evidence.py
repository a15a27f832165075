"""What it is worth to start from trained weights, and how: the worked example of docs/teachers.md.

    python benchmarks/teacher_evidence.py FOLDER

A compact transformer learns five classes of the bundled images (600 of each). Its weights then start a teacher of the
other five, of which there are 40 images each; the same network from random weights, the same budget, views and seeds
stand beside it. All is done by the commands that are printed. Needs three minutes of one core; what is there already
is not repeated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
from pathlib import Path

from PIL import Image

from dropkd.cli import run_command_line
from dropkd.demo.images import CLASSES, load_demo_split

MODEL, IMAGES_PER_CLASS, SEEDS = "cct_2_3x2", 40, (0, 1, 2)
# Small batches, so that 200 images make steps enough: 144. The rates were chosen on seed 0.
BUDGET = ("--epochs", "12", "--batch-size", "16", "--lr", "0.001", "--threads", "1")
PROBE = ("--probe-epochs", "3", "--set", "finetune.probe_lr=0.01")
FIRST, OTHERS = ("t_shirt", "trouser", "sandal", "bag", "coat"), ("pullover", "dress", "shirt", "sneaker", "ankle_boot")
WAYS = {
    "from random weights": ["--no-pretrained"],
    "all alike": [],
    "probe, then all alike": [*PROBE],
    "probe, then layer decay 0.75": [*PROBE, "--layer-decay", "0.75"],
    "the classifier alone": ["--set", "finetune.freeze=backbone", "--set", "finetune.head_lr=0.01"],
}


def write_folder(folder: Path, classes: tuple[str, ...], images: int) -> None:
    """Write an image folder of some of the bundled classes; all test images of those."""
    for name in ("train", "test"):
        split = load_demo_split(name)
        for label in map(CLASSES.index, classes):
            place = folder / name / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            for row in (split.labels == label).nonzero()[0][: images if name == "train" else None]:
                Image.fromarray(split.images[row]).save(place / f"{split.index[row]:05}.png")


def run(*arguments: str | Path) -> None:
    """Print a command and carry it out, unless its run is there already."""
    words = [str(argument) for argument in arguments]
    if (Path(words[-1]) / "metrics.json").is_file():
        return
    print(shlex.join(["dropkd", *words]), flush=True)
    if run_command_line(words) != 0:
        raise SystemExit(1)


def main() -> None:
    """Train the first network and each of the others, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    write_folder(folder / "first", FIRST, images=600)
    write_folder(folder / "others", OTHERS, images=IMAGES_PER_CLASS)
    start = folder / "start"
    run("train", folder / "first", "--model", MODEL, "--epochs", "8", "--threads", "1", "--output", start)
    rows = []
    for way, flags in WAYS.items():
        accuracies = []
        for seed in SEEDS:
            output = folder / f"{way.replace(' ', '-').replace(',', '')}-{seed}"
            weights = [] if "random" in way else ["--set", f"student.checkpoint={start}/student.safetensors"]
            # The last epoch is kept: 20 images for validation would pick at random.
            fixed = ["--set", "data.validation_fraction=0", "--seed", str(seed), "--output", output]
            run("train", folder / "others", "--model", MODEL, *flags, *weights, *BUDGET, *fixed)
            metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
            accuracies.append(100 * metrics["splits"]["test"]["accuracy"])
        rows.append(f"| {way} | {statistics.mean(accuracies):.1f} +- {statistics.stdev(accuracies):.1f} |")
    print("\n| trained | test accuracy, % |\n|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
