"""What a student loses by learning from a teacher's cache: by each way of keeping answers, and by the number of views.

    python benchmarks/cache_fidelity.py                          # all, seeds 0 1 2: an hour of one core
    python benchmarks/cache_fidelity.py --settings views=4 int8 --methods dropkd --seeds 0
    python benchmarks/cache_fidelity.py --losses                 # each method's loss and the maps' CKA alone
    python benchmarks/cache_fidelity.py --table [--json]         # what is there
    python benchmarks/cache_fidelity.py --quick --output FILE    # tiny, to see that it works

The teacher is the bundled transformer. *Accuracy*: a cifar_resnet8 learns from it for 60 epochs on 640 of the bundled
images and is tried on the 2,000 test images after the last epoch; each setting is compared with the live teacher at
the same seed: the mean difference and its 95 % interval (Student's t over seeds). *Loss*: of each method that reads a
teacher, with a student that has learned a little: the change of the method's weighted terms, and of their gradient at
the student's weights, against the teacher's own answer, as a share of it, in the worst of eight batches. *CKA*: of a
map as it is kept with the map as it is, over the same images, the lowest of the method's maps.

Results are appended line by line and what is there is not repeated, so it may be stopped at any moment.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

import dropkd
from cache_losses import measure_losses, taught_methods, train_a_little
from cache_tables import LIVE, print_tables, write_summary
from dropkd.demo.images import CLASSES, DemoSplit, load_demo_split, write_images
from dropkd.models import open_network
from record import describe_machine
from short_training import append_result, measure_accuracy, read_results

RESULTS = Path(__file__).parent / "results" / "cache_fidelity.jsonl"
TEACHER = Path(dropkd.__file__).parent / "demo" / "teacher.safetensors"
SIZES = {"images_per_class": 64, "epochs": 60, "batch_size": 64}
QUICK_SIZES = {"images_per_class": 4, "epochs": 2, "batch_size": 20}
TESTED, QUICK_TESTED = 2_000, 50
BATCHES = 8
# Where no number of views stands, each epoch has its own.
SETTINGS: dict[str, dict[str, Any]] = {
    LIVE: {"cache.mode": "off"},
    "views=1": {"data.distinct_views": 1},
    "views=2": {"data.distinct_views": 2},
    "views=4": {"data.distinct_views": 4},
    "views=8": {"data.distinct_views": 8},
    "views=16": {"data.distinct_views": 16},
    "float16": {},
    "float32": {"cache.number": "float32"},
    "int8": {"cache.number": "int8"},
    "channels=32": {"cache.channels": 32},
    "top=3": {"cache.top_logits": 3},
}
VIEWS = [LIVE, "views=1", "views=2", "views=4", "views=8", "views=16", "float16"]
# How maps are kept says nothing of a method that reads logits alone.
TRIED = {"kd": [*VIEWS, "top=3"], "dropkd": [*VIEWS, "float32", "int8", "channels=32"]}
ENCODINGS = ["float16", "float32", "int8", "channels=32", "top=3"]


def write_folder(folder: Path, images_per_class: int, tested: int) -> Path:
    """Write the first training images of each class and so many test images; return the folder."""
    split = load_demo_split("train")
    rows = [row for label in range(len(CLASSES)) for row in (split.labels == label).nonzero()[0][:images_per_class]]
    write_images(folder / "train", DemoSplit(split.images[rows], split.labels[rows], split.index[rows]))
    test = load_demo_split("test")
    write_images(folder / "test", DemoSplit(test.images[:tested], test.labels[:tested], test.index[:tested]))
    return folder


def run(folder: Path, caches: Path, method: str, setting: str, seed: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Train a student through the public API and return its accuracy on the test images."""
    settings = {
        "cache.mode": "on", "cache.folder": str(caches), "cache.compared": 2, "threads": 1, "seed": seed,
        "data.validation_fraction": 0.0, **SETTINGS[setting],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        trained = dropkd.distill(
            folder, teacher=TEACHER, student="cifar_resnet8", method=method, output=Path(scratch) / "run",
            epochs=sizes["epochs"], batch_size=sizes["batch_size"], lr=5e-3, teacher_check="off", settings=settings,
        )  # fmt: skip
        lines = (trained.folder / "metrics.jsonl").read_text().splitlines()
        losses = [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]
        data = dropkd.data.open_data(folder, validation_fraction=0)
        accuracy = measure_accuracy(open_network(trained.folder / "student.safetensors"), data.test)
    return {"method": method, "setting": setting, "seed": seed, **sizes, "loss": losses[-1], "test": accuracy}


def run_missing(given: argparse.Namespace, scratch: Path, sizes: dict[str, int]) -> None:
    """Train what is not among the results yet, seed by seed."""
    folder = write_folder(scratch / "images", sizes["images_per_class"], QUICK_TESTED if given.quick else TESTED)
    done = {(r.get("method"), r.get("setting"), r.get("seed")) for r in read_results(given.output)}
    for seed in given.seeds:
        for method in given.methods:
            for setting in TRIED[method]:
                if setting not in given.settings or (method, setting, seed) in done:
                    continue
                # Settings that differ in the number of views alone share a cache, the others have one each.
                kind = "views" if "views" in setting else setting
                result = run(folder, scratch / f"{method}-{seed}-{kind}", method, setting, seed, sizes)
                append_result(given.output, {**result, "commit": describe_machine()["commit"]})
                print(f"{method:8} {setting:12} seed {seed}  {100 * result['test']:.2f} %", flush=True)


def measure_missing(given: argparse.Namespace, scratch: Path, sizes: dict[str, int]) -> None:
    """Measure the losses of the methods that are not among the results yet."""
    done = {r["method"] for r in read_results(given.output) if "loss_change" in r}
    names = [name for name in (given.methods if given.quick else taught_methods()) if name not in done]
    if not names:
        return
    folder = write_folder(scratch / "few", sizes["images_per_class"], QUICK_TESTED)
    student = train_a_little(folder, scratch / "student")
    settings = {name: SETTINGS[name] for name in ENCODINGS}
    for name in names:
        for row in measure_losses(folder, TEACHER, student, name, settings, BATCHES):
            append_result(given.output, {**row, "commit": describe_machine()["commit"]})
            print(f"{name:8} {row['setting']:12} loss {row['loss_change']:.1e}", flush=True)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(TRIED), choices=TRIED)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--losses", action="store_true", help="measure losses and CKA alone")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--json", action="store_true", help="write the tables, with machine and commit, beside them")
    given = parser.parse_args()
    sizes = QUICK_SIZES if given.quick else SIZES
    torch.set_num_threads(1)
    if not given.table:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["DROPKD_CACHE"] = scratch
            measure_missing(given, Path(scratch), sizes)
            if not given.losses:
                run_missing(given, Path(scratch), sizes)
    results = read_results(given.output)
    print_tables(results)
    if given.json:
        write_summary(given.output.with_suffix(".json"), results)


if __name__ == "__main__":
    main()
