"""Each method against plain training on real images: the same student, budget, views and seeds.

    python benchmarks/method_evidence.py                      # the bundled images, every method, seeds 0 1 2
    python benchmarks/method_evidence.py --methods kd at      # some of them
    python benchmarks/method_evidence.py --methods at:weights.attention=100   # with another weight or option
    python benchmarks/method_evidence.py --table              # print what is there
    python benchmarks/method_evidence.py --first-step         # how hard each pulls beside the labels at first

The teacher is the bundled transformer, or another that dropkd wrote with ``--teacher FILE``. The student is a
cifar_resnet8 that sees 2,400 of the bundled training images for 16 epochs: little enough that a teacher has something
to add. Every method runs with its default options and weights, so this is a check that each method learns, not a
comparison of tuned methods. The last epoch counts, so nothing is picked by the test images: the bundled 2,000, or with
``--idx FOLDER`` (the original Fashion-MNIST files) all 10,000.

Results are appended line by line and what is there is not repeated, so the script can be stopped and started again.
The table gives the paired difference to plain training over seeds with its 95 % interval (Student's t) and says
``worse`` or ``better`` where that interval excludes 0.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dropkd.config.yaml_text import parse_yaml
from dropkd.data import Recipe, Split, open_data
from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import CLASSES, DemoSplit, load_demo_split, write_images
from dropkd.engine.distiller import Distiller
from dropkd.methods import method_class, method_names
from dropkd.models import Network, build_network, open_network
from short_training import (
    STANDARD,
    Budget,
    Lesson,
    append_result,
    format_spread,
    measure_accuracy,
    read_results,
    remember,
    train,
)

STUDENT, IMAGES_PER_CLASS = "cifar_resnet8", 240
# Quantile 0.975 of Student's t by degrees of freedom.
T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Bench:
    """The images and the teacher with its answers; trains a student by a method."""

    def __init__(self, folder: Path, teacher: Path, budget: Budget, label_noise: float) -> None:
        self.budget = budget
        data = open_data(folder, validation_fraction=0)
        self.data = replace(data, train=_spoil_labels(data.train, len(data.classes), label_noise))
        self.teacher = open_network(teacher).eval().requires_grad_(False)
        self._lessons: dict[tuple[object, ...], list[list[Lesson]]] = {}

    def run(self, trial: str, seed: int) -> dict[str, float]:
        """Train a student and return its test accuracy and the seconds that training took."""
        method, options, weights, changes = parse_trial(trial)
        torch.manual_seed(seed)
        student = build_network(STUDENT, num_classes=len(self.data.classes), image_size=(28, 28))
        targets = torch.from_numpy(self.data.train.targets)
        distiller = Distiller(student, self.teacher, method, options=options, weights=weights, targets=targets).to(
            memory_format=torch.channels_last
        )
        recipe = replace(STANDARD, **changes)
        lessons = self._recall(seed, distiller.method.views, self._find_reads(method), recipe)
        torch.manual_seed(seed + 1)
        seconds = train(distiller, lessons, self.budget)
        return {"test": measure_accuracy(student, self.data.test), "seconds": seconds}

    def compare_gradients(self, method: str) -> float:
        """Return the length of the weighted terms' gradient for the student over the cross-entropy's, at the start."""
        torch.manual_seed(0)
        student = build_network(STUDENT, num_classes=len(self.data.classes), image_size=(28, 28))
        targets = torch.from_numpy(self.data.train.targets)
        distiller = Distiller(student, self.teacher, method, targets=targets, warmup_epochs=0).train()
        lesson = self._recall(0, distiller.method.views, self._find_reads(method), STANDARD)[0][0]
        target, index = lesson.batch.target, lesson.batch.index
        losses = distiller(lesson.images, target, index, teacher_outputs=lesson.answer.float())
        labels = losses.raw.pop("cross_entropy")
        terms = torch.stack([losses.weighted[name] for name in losses.raw]).sum()
        return _measure_gradient(terms, student) / _measure_gradient(labels, student)

    def _find_reads(self, method: str) -> frozenset[str]:
        # Much the same for all methods, so that most share one memory of the teacher's answers.
        reads = method_class(method).teacher_reads
        return reads | {"maps", "embedding", "logits"} if reads else frozenset({"logits"})

    def _recall(self, seed: int, views: tuple[str, ...], reads: frozenset[str], recipe: Recipe) -> list[list[Lesson]]:
        key = (seed, views, reads, recipe)
        if key not in self._lessons:
            # Answers of an earlier seed are not needed again, and they are large.
            self._lessons = {k: v for k, v in self._lessons.items() if k[0] == seed}
            self._lessons[key] = remember(self.teacher, self.data.train, self.budget, *key)
        return self._lessons[key]


def _measure_gradient(loss: Tensor, student: Network) -> float:
    gradients = torch.autograd.grad(loss, list(student.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm().item()


def parse_trial(trial: str) -> tuple[str, dict[str, Any], dict[str, float], dict[str, Any]]:
    """Return method, options, weights and changes of the recipe that a trial names.

    Such as ``at:weights.attention=100,power=4`` or ``eac:data.erase_probability=0.5``.
    """
    method, _, rest = trial.partition(":")
    groups: dict[str, dict[str, Any]] = {"": {}, "weights": {}, "data": {}}
    for setting in filter(None, rest.split(",")):
        key, _, text = setting.partition("=")
        group, _, name = key.rpartition(".")
        groups[group][name] = parse_yaml(text)
    return method, groups[""], groups["weights"], groups["data"]


def _spoil_labels(split: Split, num_classes: int, share: float) -> Split:
    """Return a split in which a share of the labels is another class, drawn evenly; the same for every seed."""
    source = np.random.default_rng(0)
    wrong = source.random(len(split)) < share
    shift = source.integers(1, num_classes, len(split))
    return replace(split, targets=np.where(wrong, (split.targets + shift) % num_classes, split.targets))


def write_folder(folder: Path, idx: Path | None) -> Path:
    """Write the training images, the first of each class, and the test images; return the folder."""
    if not folder.is_dir():
        train_split, test_split = load_demo_split("train"), load_demo_split("test")
        chosen = np.sort(
            np.concatenate(
                [np.flatnonzero(train_split.labels == label)[:IMAGES_PER_CLASS] for label in range(len(CLASSES))]
            )
        )
        write_images(
            folder / "train",
            DemoSplit(train_split.images[chosen], train_split.labels[chosen], train_split.index[chosen]),
        )
        if idx is not None:
            images, labels = read_fashion_mnist(idx, "test")
            test_split = DemoSplit(images, labels, np.arange(len(images)))
        write_images(folder / "test", test_split)
    return folder


def print_table(results: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each method: accuracy, paired difference to plain training and its interval."""
    by_method: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in results:
        by_method[row["method"]][row["seed"]] = row
    plain = by_method.pop("plain")
    print("| method | seeds | test % | minus plain, points | 95 % interval | against plain |")
    print("|---|---|---|---|---|---|")
    accuracy = format_spread([100 * row["test"] for row in plain.values()])
    print(f"| plain | {len(plain)} | {accuracy} | | | |")
    for name, rows in sorted(by_method.items(), key=lambda item: -_mean_gap(item[1], plain)):
        gaps = _find_gaps(rows, plain)
        low, high = _find_interval(gaps)
        interval = f"{low:+.2f} to {high:+.2f}" if len(gaps) > 1 else "one seed"
        verdict = "better" if low > 0 else "worse" if high < 0 else "no difference seen" if len(gaps) > 1 else ""
        print(
            f"| {name} | {len(gaps)} | {format_spread([100 * r['test'] for r in rows.values()])} | "
            f"{statistics.mean(gaps):+.2f} | {interval} | {verdict} |"
        )


def _find_gaps(rows: Mapping[int, Mapping[str, Any]], plain: Mapping[int, Mapping[str, Any]]) -> list[float]:
    return [100 * (rows[seed]["test"] - plain[seed]["test"]) for seed in sorted(rows.keys() & plain.keys())]


def _mean_gap(rows: Mapping[int, Mapping[str, Any]], plain: Mapping[int, Mapping[str, Any]]) -> float:
    return statistics.mean(_find_gaps(rows, plain))


def _find_interval(gaps: Sequence[float]) -> tuple[float, float]:
    if len(gaps) < 2:
        return -math.inf, math.inf
    reach = T_QUANTILES.get(len(gaps) - 1, 2.0) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return statistics.mean(gaps) - reach, statistics.mean(gaps) + reach


def main() -> None:
    """Read the command line, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="NAME or NAME:KEY=VALUE,...; by default every method"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--label-noise", type=float, default=0.0, help="share of training labels that are wrong")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--teacher", type=Path, default=Path("src/dropkd/demo/teacher.safetensors"))
    parser.add_argument("--idx", type=Path, help="folder of the original Fashion-MNIST files, for 10,000 test images")
    parser.add_argument("--scratch", type=Path, default=Path("runs/evidence"), help="where the images are written")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/method_evidence.jsonl"))
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--first-step", action="store_true", help="compare gradients at the first step, train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.first_step:
        folder = write_folder(arguments.scratch, arguments.idx)
        bench = Bench(folder, arguments.teacher, Budget(1), arguments.label_noise)
        for method in arguments.methods or [name for name in method_names() if method_class(name).terms]:
            print(f"| {method} | {bench.compare_gradients(method):.1f} |")
        return
    if not arguments.table:
        folder, noise = write_folder(arguments.scratch, arguments.idx), arguments.label_noise
        bench = Bench(folder, arguments.teacher, Budget(arguments.epochs), noise)
        for seed in arguments.seeds:
            for method in ["plain", *(name for name in arguments.methods or method_names() if name != "plain")]:
                trial = {"teacher": bench.teacher.spec.name, "label_noise": noise, "method": method, "seed": seed}
                if any(trial.items() <= row.items() for row in read_results(arguments.results)):
                    continue
                row = {**trial, "epochs": arguments.epochs, **bench.run(method, seed)}
                append_result(arguments.results, row)
                print(f"{method}, seed {seed}: test {row['test']:.2%}, {row['seconds']:.0f} s", flush=True)
    results = read_results(arguments.results)
    for teacher, noise in dict.fromkeys((row["teacher"], row["label_noise"]) for row in results):
        print(f"\nTeacher: {teacher}; {noise:.0%} of the training labels are wrong.\n")
        print_table([row for row in results if (row["teacher"], row["label_noise"]) == (teacher, noise)])


if __name__ == "__main__":
    main()
