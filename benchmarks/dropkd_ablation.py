"""Which form of DropKD helps, against a KD that was tuned as hard, on real images.

    python benchmarks/dropkd_ablation.py IDX_FOLDER --teacher TEACHER.safetensors --results FILE.jsonl [--part kd]

Data: Fashion-MNIST. Labelled training images: the 6,000 of the demo. Validation, by which every choice is made: 5,000
other original training images. Test, shown beside it and used for no choice: the 10,000 original test images. The
student (cifar_resnet8) trains for a fixed budget and its last epoch counts. Each variant runs with the same seeds, so
the same initial weights, order and views; the teacher's answers to a seed's views are computed once and shared.

Parts: ``kd`` tunes temperature and weight of KD; ``dropkd`` those of DropKD's logit term, in the form that the forms
start from (coupled masks by element, zeroed logits, rates 0.5, reconstruction and classification on the teacher's
side); ``forms`` changes one thing at a time, at a temperature and weight where KD is near its best; ``small-weights``
asks for less of the logit dropout. Results are appended line by line and what is there is not repeated, so that the
script can be stopped and started again. ``--part table`` prints the table.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from dropkd.data import open_data
from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import DemoSplit, load_demo_split, unpack_demo_images, write_images
from dropkd.engine.distiller import Distiller
from dropkd.models import build_network, open_network
from short_training import Budget, Lesson, append_result, format_spread, measure_accuracy, read_results, remember, train

VALIDATION_IMAGES = 5_000
TEMPERATURES, WEIGHTS = (1.0, 2.0, 4.0, 8.0), (0.5, 1.0, 2.0, 4.0)
NOTHING: Mapping[str, float] = MappingProxyType({})
BOTH_SIDES = {"reconstruct_sides": "both", "domain_sides": "both"}
# Where KD is flat and near its best, so that what a form does to it shows.
FORMS_TEMPERATURE, FORMS_WEIGHT = 2.0, 1.0
DROPKD_TEMPERATURES, DROPKD_WEIGHTS = (2.0, 4.0, 8.0), (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Trial:
    """One form to be measured: a method, its options and its weights."""

    name: str
    method: str
    options: Mapping[str, Any]
    weights: Mapping[str, float]


def plan_kd() -> list[Trial]:
    """Return plain training and the grid of KD."""
    grid = [
        Trial(f"KD, T = {t:g}, weight {w:g}", "kd", {"temperature": t}, {"logit": w})
        for t in TEMPERATURES
        for w in WEIGHTS
    ]
    return [Trial("plain", "plain", {}, {}), *grid]


def plan_dropkd() -> list[Trial]:
    """Return the grid of DropKD in the form that the others start from."""
    return [form for t in DROPKD_TEMPERATURES for w in DROPKD_WEIGHTS for form in plan_forms(t, w)[:1]]


def plan_small_weights() -> list[Trial]:
    """Return DropKD with less of its logit dropout: lower rates, or smaller weights of the term in two forms."""
    whole = plan_forms(FORMS_TEMPERATURE, FORMS_WEIGHT)[0]
    low = {"logit_rate_teacher": 0.1, "logit_rate_student": 0.1}
    name = whole.name.replace("start", "start, but logit rates 0.1")
    trials = [replace(whole, name=name, options={**whole.options, **low})]
    for weight in (0.25, 0.5):
        start = plan_forms(FORMS_TEMPERATURE, weight)[0]
        name = start.name.replace("start", "start, but classes removed")
        trials += [start, replace(start, name=name, options={**start.options, "logit_mode": "remove"})]
    return trials


def plan_forms(temperature: float, weight: float) -> list[Trial]:
    """Return the start, then what is done to logits without any features, then what is done to features beside KD."""

    def form(what: str, options: Mapping[str, Any], weights: Mapping[str, float] = NOTHING) -> Trial:
        name = f"{what} (T = {temperature:g}, weight {weight:g})"
        half = rates("feature", 0.5) | rates("logit", 0.5)
        return Trial(name, "dropkd", {"temperature": temperature, **half, **options}, {"logit": weight, **weights})

    def rates(kind: str, rate: float) -> dict[str, float]:
        return {f"{kind}_rate_{side}": rate for side in ("teacher", "student")}

    def logits(what: str, rate: float, **options: Any) -> Trial:
        off = {"feature": 0.0, "reconstruct": 0.0, "domain": 0.0}
        return form(f"logits alone: {what}", {**rates("logit", rate), **options}, off)

    def features(what: str, rate: float, weights: Mapping[str, float] = NOTHING, **options: Any) -> Trial:
        return form(f"KD + features: {what}", {**rates("logit", 0), **rates("feature", rate), **options}, weights)

    return [
        form("start", {}),
        logits("zeroed, coupled, rate 0.5", 0.5),
        logits("zeroed, coupled, rate 0.3", 0.3),
        logits("zeroed, coupled, rate 0.1", 0.1),
        logits("zeroed, coupled, rate 0.5, not centred", 0.5, center_logits=False),
        logits("zeroed, independent, rate 0.5", 0.5, masks="independent"),
        logits("classes removed, coupled, rate 0.5", 0.5, logit_mode="remove"),
        logits("classes removed, coupled, rate 0.3", 0.3, logit_mode="remove"),
        logits("classes removed, independent, rate 0.5", 0.5, logit_mode="remove", masks="independent"),
        features("rate 0", 0),
        features("by element, coupled, rate 0.5", 0.5),
        features("by element, independent, rate 0.5", 0.5, masks="independent"),
        features("by channel, coupled, rate 0.5", 0.5, feature_unit="channel"),
        features("by position, coupled, rate 0.5", 0.5, feature_unit="position"),
        features("rate 0.5, reconstruct off", 0.5, {"reconstruct": 0.0}),
        features("rate 0.5, domain off", 0.5, {"domain": 0.0}),
        features("rate 0.5, reconstruct and domain off", 0.5, {"reconstruct": 0.0, "domain": 0.0}),
        features("rate 0.5, feature term off, both sides", 0.5, {"feature": 0.0}, **BOTH_SIDES),
        features("rate 0.5, both sides", 0.5, **BOTH_SIDES),
        features("rate 0.5, logit term off", 0.5, {"logit": 0.0}),
        features("rate 0.5, no stop-gradient", 0.5, stop_gradient=False),
        features("rate 0.3", 0.3),
        features("rate 0.7", 0.7),
    ]


class Bench:
    """The data, the teacher and its answers; runs a trial for a seed."""

    def __init__(self, idx_folder: Path, teacher: Path, epochs: int, scratch: Path) -> None:
        self.budget = Budget(epochs)
        self.data = open_data(_write_images(idx_folder, scratch))
        self.teacher = open_network(teacher).eval().requires_grad_(False)
        self._lessons: dict[int, list[list[Lesson]]] = {}

    def run(self, trial: Trial, seed: int) -> dict[str, float]:
        """Train a student and return its accuracies and the seconds that training took."""
        if seed not in self._lessons:
            reads = frozenset({"logits", "maps"})
            self._lessons[seed] = remember(self.teacher, self.data.train, self.budget, seed, ("standard",), reads)
        torch.manual_seed(seed)
        student = build_network("cifar_resnet8", num_classes=len(self.data.classes), image_size=(28, 28))
        distiller = Distiller(student, self.teacher, trial.method, options=trial.options, weights=trial.weights).to(
            memory_format=torch.channels_last
        )
        torch.manual_seed(seed + 1)
        seconds = train(distiller, self._lessons[seed], self.budget)
        judged = {split.name: measure_accuracy(student, split) for split in self.data.splits if split.name != "train"}
        return {**judged, "seconds": seconds}


def _write_images(idx_folder: Path, scratch: Path) -> Path:
    folder = scratch / "images"
    if not (folder / "val").is_dir():
        unpack_demo_images(folder)
        images, labels = read_fashion_mnist(idx_folder, "train")
        taken = load_demo_split("train").index
        free = np.setdiff1d(np.arange(len(images)), taken)
        chosen = np.sort(np.random.default_rng(0).choice(free, VALIDATION_IMAGES, replace=False))
        test_images, test_labels = read_fashion_mnist(idx_folder, "test")
        write_images(folder / "test", DemoSplit(test_images, test_labels, np.arange(len(test_images))))
        write_images(folder / "val", DemoSplit(images[chosen], labels[chosen], chosen))
    return folder


def best_kd(results: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the temperature and weight of KD with the highest mean validation accuracy."""
    scores = defaultdict(list)
    for row in results:
        if row["method"] == "kd":
            scores[row["options"]["temperature"], row["weights"]["logit"]].append(row["val"])
    return max(scores, key=lambda key: statistics.mean(scores[key]))


def print_table(results: Sequence[Mapping[str, Any]]) -> None:
    """Print a row per trial: means and standard deviations over seeds, and the paired difference to the tuned KD."""
    by_trial: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in results:
        by_trial[row["name"]][row["seed"]] = row
    temperature, weight = best_kd(results)
    reference = by_trial[f"KD, T = {temperature:g}, weight {weight:g}"]
    plain = statistics.mean(row["seconds"] for row in by_trial["plain"].values())
    print(f"Tuned KD: T = {temperature:g}, weight {weight:g}.\n")
    print("| form | seeds | validation % | test % | test minus tuned KD | time over plain |")
    print("|---|---|---|---|---|---|")
    for name, rows in by_trial.items():
        shared = sorted(rows.keys() & reference.keys())
        gaps = [100 * (rows[s]["test"] - reference[s]["test"]) for s in shared]
        seconds = statistics.mean(row["seconds"] for row in rows.values()) / plain
        val, test = (format_spread([100 * row[split] for row in rows.values()]) for split in ("val", "test"))
        print(f"| {name} | {len(rows)} | {val} | {test} | {format_spread(gaps, '+.2f')} | {seconds:.2f} |")


def main() -> None:
    """Read the command line, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idx_folder", type=Path, help="folder of the original Fashion-MNIST files")
    parser.add_argument("--teacher", type=Path, default=Path("src/dropkd/demo/teacher.safetensors"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/dropkd_ablation.jsonl"))
    parser.add_argument("--scratch", type=Path, default=Path("runs/ablation"), help="where the image folder is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    shard_help = "run every Nth trial, from number I on, so that N processes share the work"
    parser.add_argument("--shard", type=int, nargs=2, metavar=("I", "N"), default=(0, 1), help=shard_help)
    parser.add_argument("--part", choices=["kd", "dropkd", "forms", "small-weights", "table"], default="table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = read_results(arguments.results)
    if arguments.part != "table":
        plans = {"kd": plan_kd, "dropkd": plan_dropkd, "forms": lambda: plan_forms(FORMS_TEMPERATURE, FORMS_WEIGHT)}
        plans["small-weights"] = plan_small_weights
        trials = plans[arguments.part]()
        first, stride = arguments.shard
        bench = Bench(arguments.idx_folder, arguments.teacher, arguments.epochs, arguments.scratch)
        done = {(row["name"], row["seed"]) for row in results}
        for trial in trials[first::stride]:
            for seed in (seed for seed in arguments.seeds if (trial.name, seed) not in done):
                row = {
                    "name": trial.name, "method": trial.method, "options": trial.options, "weights": trial.weights,
                    "seed": seed, "epochs": arguments.epochs, **bench.run(trial, seed),
                }  # fmt: skip
                append_result(arguments.results, row)
                print(
                    f"{trial.name}, seed {seed}: val {row['val']:.2%}, test {row['test']:.2%}, {row['seconds']:.0f} s"
                )
        results = read_results(arguments.results)
    print_table(results)


if __name__ == "__main__":
    main()
