"""What unlabelled images are worth: 200 labelled images alone, with a teacher, and with 2,000 unlabelled ones beside.

    python benchmarks/unlabelled_images.py                   # the bundled images, seeds 0 1 2
    python benchmarks/unlabelled_images.py --idx FOLDER      # the original Fashion-MNIST files
    python benchmarks/unlabelled_images.py --table           # print what is there

The student is a cifar_resnet8, the teacher the bundled transformer, the method KD with its default options. Each arm
sees the same 200 labelled images in the same order for the same number of steps; the last epoch counts, so no image is
spent on choosing it. The bundled training images are among those that the teacher learned from; with ``--idx`` the
unlabelled ones are the first 2,000 original test images, which it has never seen, and the other 8,000 judge.

Results are appended line by line and what is there is not repeated, so the script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import dropkd
from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import CLASSES, load_demo_split
from short_training import append_result, format_spread, read_results

HERE = Path(__file__).parent
TEACHER = Path(dropkd.__file__).parent / "demo" / "teacher.safetensors"
PER_CLASS, POOL = 20, 2_000
BUDGET = {"epochs": 50, "batch_size": 50, "lr": 5e-3, "device": "cpu"}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "labels alone": {},
    "teacher, labelled images": {"teacher": TEACHER},
    "teacher, labelled and unlabelled images": {"teacher": TEACHER, "unlabelled": True},
}


def write_data(folder: Path, idx: Path | None) -> None:
    """Write ``photos`` (train and test) and ``pool`` below a folder."""
    train, test = load_demo_split("train"), load_demo_split("test")
    own = np.concatenate([np.flatnonzero(train.labels == k)[:PER_CLASS] for k in range(len(CLASSES))])
    _write(folder / "photos" / "train", train.images[own], train.labels[own])
    if idx is None:
        others = np.concatenate(
            [np.flatnonzero(train.labels == k)[PER_CLASS : PER_CLASS + POOL // 10] for k in range(len(CLASSES))]
        )
        pool, judges = train.images[others], (test.images, test.labels)
    else:
        images, labels = read_fashion_mnist(idx, "test")
        pool, judges = images[:POOL], (images[POOL:], labels[POOL:])
    _write(folder / "photos" / "test", *judges)
    _write(folder / "pool", pool)


def _write(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8] | None = None) -> None:
    for number, image in enumerate(images):
        place = folder if labels is None else folder / CLASSES[labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:05}.png")


def run_arm(name: str, folder: Path, seed: int) -> dict[str, float]:
    """Train a student and return its test accuracy, the steps and the seconds."""
    arm, output = ARMS[name], folder / "runs" / f"{name}-{seed}"
    settings = {"data.validation_fraction": 0.0}
    shared = {**BUDGET, "seed": seed, "output": output, "settings": settings}
    if "teacher" in arm:
        pool = folder / "pool" if "unlabelled" in arm else None
        run = dropkd.distill(
            folder / "photos", teacher=arm["teacher"], student="cifar_resnet8", method="kd", unlabelled=pool, **shared
        )
    else:
        run = dropkd.train(folder / "photos", model="cifar_resnet8", **shared)
    metrics = run.metrics
    return {
        "accuracy": metrics["splits"]["test"]["accuracy"], "images": metrics["splits"]["test"]["images"],
        "steps": metrics["steps"], "seconds": round(metrics["seconds"], 1),
    }  # fmt: skip


def print_table(results: Sequence[Mapping[str, Any]]) -> None:
    """Print each arm's accuracy over seeds and its paired difference to labels alone."""
    for source in dict.fromkeys(result["pool"] for result in results):
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for result in results:
            if result["pool"] == source:
                found[result["arm"]][result["seed"]] = 100 * result["accuracy"]
        print(f"\nunlabelled images: {source}\n\n| learns from | accuracy, % | more than labels alone |\n|---|---|---|")
        alone = found["labels alone"]
        for arm, by_seed in found.items():
            gains = [value - alone[seed] for seed, value in by_seed.items() if seed in alone]
            more = "" if arm == "labels alone" else format_spread(gains)
            print(f"| {arm} | {format_spread(list(by_seed.values()))} | {more} |")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idx", type=Path, help="folder with the original Fashion-MNIST files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "unlabelled_images.jsonl")
    parser.add_argument("--table", action="store_true", help="print what is there")
    given = parser.parse_args()
    pool = "bundled training images" if given.idx is None else "original test images"
    results = read_results(given.results)
    done = {(r["pool"], r["arm"], r["seed"]) for r in results}
    wanted = [(arm, seed) for seed in given.seeds for arm in ARMS if (pool, arm, seed) not in done]
    if wanted and not given.table:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder), given.idx)
            for arm, seed in wanted:
                result = {"pool": pool, "arm": arm, "seed": seed, **run_arm(arm, Path(folder), seed)}
                append_result(given.results, result)
                print(result, flush=True)
    print_table(read_results(given.results))


if __name__ == "__main__":
    main()
