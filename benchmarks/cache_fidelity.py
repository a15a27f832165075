"""What a student loses by learning from a teacher's cache: by each way of keeping answers, and by the number of views.

    python benchmarks/cache_fidelity.py                 # every setting and method, seeds 0 1 2
    python benchmarks/cache_fidelity.py --settings views=4 int8 --methods dropkd
    python benchmarks/cache_fidelity.py --table         # print what is there

The teacher is the bundled transformer; a cifar_resnet8 learns from it on 2,400 of the bundled images. Each setting is
compared with the live teacher at the same seed. *First loss*: the largest change of the loss over the first steps that
were logged, as a share of it. *CKA*: minibatch CKA between the kept map and the exact one, over 512 images. *Accuracy*:
on the 2,000 test images after the last epoch, as the mean difference to the live teacher with its 95 % interval
(Student's t over seeds).

Results are appended line by line and what is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import dropkd
from dropkd.config import load_config
from dropkd.demo.images import CLASSES, DemoSplit, load_demo_split, write_images
from dropkd.engine.cache_plan import ask_teacher, plan_cache
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.metrics import MinibatchCKA
from dropkd.models import open_network
from dropkd.teacher_cache.building import find_basis, split_answer
from dropkd.teacher_cache.encoding import decode_part, encode_part
from short_training import append_result, format_spread, measure_accuracy, read_results

RESULTS = Path(__file__).parent / "results" / "cache_fidelity.jsonl"
TEACHER = Path(dropkd.__file__).parent / "demo" / "teacher.safetensors"
IMAGES_PER_CLASS, EPOCHS, COMPARED, MAPS_COMPARED = 240, 8, 5, 512
LIVE = "live"
SETTINGS: dict[str, dict[str, Any]] = {
    LIVE: {"cache.mode": "off"},
    "float16": {},
    "int8": {"cache.number": "int8"},
    "channels=64": {"cache.channels": 64},
    "top=3": {"cache.top_logits": 3},
    "views=1": {"data.distinct_views": 1},
    "views=2": {"data.distinct_views": 2},
    "views=4": {"data.distinct_views": 4},
}
# Those that say something of a method that reads logits alone.
OF_LOGITS = [LIVE, "float16", "top=3", "views=1", "views=2", "views=4"]
T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def write_folder(folder: Path) -> Path:
    """Write the first training images of each class and all test images; return the folder."""
    split = load_demo_split("train")
    rows = [row for label in range(len(CLASSES)) for row in (split.labels == label).nonzero()[0][:IMAGES_PER_CLASS]]
    write_images(folder / "train", DemoSplit(split.images[rows], split.labels[rows], split.index[rows]))
    write_images(folder / "test", load_demo_split("test"))
    return folder


def settings_of(setting: str, caches: Path, seed: int) -> dict[str, Any]:
    """Return the keys of the configuration that a setting stands for."""
    return {
        "cache.mode": "on", "cache.folder": str(caches), "cache.compared": 0, "threads": 1, "seed": seed,
        "data.validation_fraction": 0.0, **SETTINGS[setting],
    }  # fmt: skip


def run(folder: Path, caches: Path, method: str, setting: str, seed: int) -> dict[str, Any]:
    """Train a student and return its losses at first and its test accuracy at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        trained = dropkd.distill(
            folder, teacher=TEACHER, student="cifar_resnet8", method=method, output=Path(scratch) / "run",
            epochs=EPOCHS, batch_size=64, lr=5e-3, teacher_check="off", settings=settings_of(setting, caches, seed),
        )  # fmt: skip
        lines = (trained.folder / "metrics.jsonl").read_text().splitlines()
        losses = [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]
        data = dropkd.data.open_data(folder, validation_fraction=0)
        accuracy = measure_accuracy(open_network(trained.folder / "student.safetensors"), data.test)
    return {"method": method, "setting": setting, "seed": seed, "losses": losses[:COMPARED], "test": accuracy}


def measure_maps(folder: Path, setting: str) -> float | None:
    """Return the CKA between DropKD's map as it is kept and as it is, or None where a setting keeps none."""
    flags = {
        "data.path": str(folder), "student.name": "cifar_resnet8", "teacher.source": str(TEACHER),
        "method.name": "dropkd", "training.epochs": EPOCHS, "training.batch_size": 64,
    }  # fmt: skip
    job = prepare_job(load_config(flags={**flags, **settings_of(setting, folder, 0)}), Observer())
    loader = job.train_loader()
    plan = plan_cache(job, loader, Observer())
    if plan is None:
        return None
    maps = [part for part in plan.parts if len(part.shape) == 3]
    answers = [ask_teacher(job, pictures) for pictures in plan.rows.pictures(0, 0, MAPS_COMPARED)]
    basis = find_basis(maps, answers)
    cka = MinibatchCKA()
    for answer in answers:
        for part in maps:
            exact = split_answer(answer)[part.name]
            kept = decode_part(part, encode_part(part, exact, basis), basis)
            cka.update(kept.flatten(1).double(), exact.flatten(1).double())
    return float(cka.compute())


def print_table(results: list[dict[str, Any]]) -> None:
    """Print a row for each method and setting."""
    runs = {(r["method"], r["setting"], r["seed"]): r for r in results if "method" in r}
    cka = {r["setting"]: r["cka"] for r in results if "cka" in r}
    print("| method | setting | first loss | CKA of the map | accuracy | against live |\n|---|---|---|---|---|---|")
    for method in dict.fromkeys(key[0] for key in runs):
        for setting in SETTINGS:
            seeds = sorted(seed for m, s, seed in runs if (m, s) == (method, setting))
            if not seeds:
                continue
            own = [runs[method, setting, seed] for seed in seeds]
            live = [runs[method, LIVE, seed] for seed in seeds if (method, LIVE, seed) in runs]
            accuracy = format_spread([100 * r["test"] for r in own])
            pairs = list(zip(own, live, strict=False))
            change = max(compare_losses(one["losses"], two["losses"]) for one, two in pairs)
            differences = [100 * (one["test"] - two["test"]) for one, two in pairs]
            against = "" if setting == LIVE else format_difference(differences)
            shown = f"{cka[setting]:.6f}" if method == "dropkd" and cka.get(setting) is not None else ""
            print(f"| {method} | {setting} | {change:.1e} | {shown} | {accuracy} | {against} |")


def compare_losses(some: list[float], others: list[float]) -> float:
    """Return the largest change as a share of the loss."""
    return max(abs(one / other - 1) for one, other in zip(some, others, strict=True))


def format_difference(differences: list[float]) -> str:
    """Return a mean with its 95 % interval."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}"
    half = T_QUANTILES[len(differences) - 1] * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.2f} ± {half:.2f}"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["kd", "dropkd"])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    given = parser.parse_args()
    if not given.table:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["DROPKD_CACHE"] = scratch
            folder = write_folder(Path(scratch) / "images")
            known = read_results(given.output)
            done = {(r.get("method"), r["setting"], r.get("seed")) for r in known}
            for setting in given.settings:
                if "dropkd" in given.methods and (None, setting, None) not in done:
                    append_result(given.output, {"setting": setting, "cka": measure_maps(folder, setting)})
            for seed in given.seeds:
                for method in given.methods:
                    for setting in given.settings:
                        if (method, setting, seed) in done or (method == "kd" and setting not in OF_LOGITS):
                            continue
                        result = run(folder, Path(scratch) / "caches", method, setting, seed)
                        append_result(given.output, result)
                        print(f"{method:8} {setting:12} seed {seed}  {100 * result['test']:.2f} %", flush=True)
    print_table(read_results(given.output))


if __name__ == "__main__":
    main()
