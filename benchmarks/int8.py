"""What whole numbers cost in accuracy, what the teacher gives back, and what they save in time.

    OMP_NUM_THREADS=1 python benchmarks/int8.py --json            # writes results/int8.json
    OMP_NUM_THREADS=1 python benchmarks/int8.py --quick --json    # a few images, to try it

A MobileNetV2 for small images is distilled (KD) from the bundled transformer on the bundled images, once for each seed.
It is exported with weights of 8 bits and of fewer, by static rounding with 512 training images; then, at the fewest
bits, after a short training of the rounded student: with the teacher, and without it by the labels alone, both from the
same student with the same steps. All are judged by the 2,000 test images, which nothing was chosen by; the gain of
either training over static rounding is a difference on the same images, with its 95 % interval (Agresti and Min).

The time for one image is measured by onnxruntime for the float and the int8 file in turn, on one thread, for this
student and for some networks of the usual size with random weights, on which time does not depend.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import dropkd
from dropkd.demo.demo import TEACHER, TEACHER_FILE
from dropkd.demo.images import load_demo_split, write_images
from dropkd.export.deployed import DeployedModel
from dropkd.export.quantizing_answers import open_file, open_network
from dropkd.export.quantizing_images import feed
from dropkd.statistics.pairs import compare_paired
from record import describe_machine, keep

STUDENT = "cifar_mobilenetv2"
LARGE = ("resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224", "convnext_atto")


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        train: training images of each class.
        test: test images of each class.
        epochs: of the student.
        refined: epochs of the rounded student.
        seeds: trainings.
        large: networks of the usual size whose time is measured.
        bits: of a weight.
        methods: that the rounded student learns by.
    """

    train: int
    test: int
    epochs: int
    refined: int
    seeds: int
    large: tuple[str, ...]
    bits: tuple[int, ...] = (8, 6, 5, 4)
    methods: tuple[str, ...] = ("plain", "kd")


FULL, QUICK = Size(600, 200, 8, 3, 2, LARGE), Size(16, 8, 1, 1, 1, (), (8, 4))


class Bench:
    """One folder of images; trains, exports and judges."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        for name, count in (("train", size.train), ("test", size.test)):
            split = load_demo_split(name)
            rows = np.concatenate([np.flatnonzero(split.labels == label)[:count] for label in range(10)])
            rows.sort()
            chosen = replace(split, images=split.images[rows], labels=split.labels[rows], index=split.index[rows])
            write_images(folder / "images" / name, chosen)

    def train(self, seed: int) -> dropkd.Run:
        """Return a run whose student learned from the bundled transformer."""
        return self._distil("kd", STUDENT, seed, self.size.epochs, f"student-{seed}", {"training.lr": 0.004})

    def refine(self, run: dropkd.Run, method: str, seed: int, bits: int) -> dropkd.Run:
        """Return a run whose student learned to be rounded."""
        settings = {"qat.enabled": True, "qat.weight_bits": bits, "training.lr": 0.001}
        return self._distil(method, str(run.folder), seed, self.size.refined, f"{method}-{bits}-{seed}", settings)

    def _distil(
        self, method: str, student: str, seed: int, epochs: int, name: str, settings: Mapping[str, Any]
    ) -> dropkd.Run:
        images, teacher = self.folder / "images", f"{TEACHER}:{TEACHER_FILE}"
        common: dict[str, Any] = {
            "epochs": epochs, "batch_size": 64, "image_size": 28, "pretrained": False, "seed": seed,
            "output": self.folder / name,
            "settings": {"data.workers": 0, "threads": 1, "teacher_check": "off", **settings},
        }  # fmt: skip
        if method == "plain":
            return dropkd.train(images, model=student, **common)
        return dropkd.distill(images, teacher=teacher, student=student, method=method, **common)

    def export(self, run: dropkd.Run, bits: int) -> tuple[dropkd.export.Int8Export, NDArray[np.bool_]]:
        """Return an int8 file, and which of the test images it has right."""
        settings = dropkd.Int8(weight_bits=bits, threads=1)
        made = dropkd.export_int8(run, settings, output=self.folder / f"{run.folder.name}-{bits}.onnx")
        return made, self._judge(run, open_file(made.path.read_bytes(), 1))

    def judge_network(self, run: dropkd.Run) -> NDArray[np.bool_]:
        """Return which of the test images the run's own network has right."""
        network = run.network()
        return self._judge(run, open_network(network, DeployedModel(network.model, network.spec, takes_pixels=False)))

    def _judge(self, run: dropkd.Run, answer: Any) -> NDArray[np.bool_]:
        network, test = run.network(), {split.name: split for split in run.open_data().splits}["test"]
        module = DeployedModel(network.model, network.spec, takes_pixels=False)
        right = [answer(inputs).argmax(1) == target for inputs, target in feed(network, module, test)]
        return np.concatenate(right)


def measure_seed(bench: Bench, seed: int) -> tuple[dict[str, Any], dict[str, NDArray[np.bool_]]]:
    """Return a seed's figures, and which images each file has right."""
    run = bench.train(seed)
    right = {"float": bench.judge_network(run)}
    latency: dict[str, Any] = {}
    for bits in bench.size.bits:
        made, right[f"static, {bits} bits"] = bench.export(run, bits)
        latency = {name: asdict(taken) for name, taken in made.latency.items()}
    least, agreement = min(bench.size.bits), {}
    for method in bench.size.methods:
        refined = bench.refine(run, method, seed, least)
        made, right[f"{method}, {least} bits"] = bench.export(refined, least)
        agreement[method] = asdict(made)["learned"]
        right[f"{method}, {least} bits, as trained"] = bench.judge_network(refined)
    figures = {name: float(rows.mean()) for name, rows in right.items()}
    return {"seed": seed, "accuracy": figures, "file_and_student": agreement, "latency": latency}, right


def gain(right: Sequence[Mapping[str, NDArray[np.bool_]]], first: str, second: str) -> dict[str, Any]:
    """Return by how much one has more test images right than another, over all seeds, with the interval by images."""
    pairs = [np.concatenate([rows[name] for rows in right]) for name in (first, second)]
    return asdict(compare_paired(*pairs))


def measure_large(folder: Path, name: str) -> dict[str, Any]:
    """Return the time for one image of 224 pixels by a network of the usual size."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for label in ("a", "b"):
            place = folder / name / part / label
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)).save(place / f"{number}.png")
    run = dropkd.train(
        folder / name, model=name, epochs=1, batch_size=4, image_size=224, pretrained=False,
        output=folder / f"{name}-run",
        settings={"threads": 1, "data.workers": 0, "data.augmentation": "none"},
    )  # fmt: skip
    made = dropkd.export_int8(run, dropkd.Int8(threads=1, images=16))
    times = {kind: asdict(taken) for kind, taken in made.latency.items()}
    return {"network": name, "latency": times, "bytes": {"float": made.float_bytes, "int8": made.path.stat().st_size}}


def main() -> None:
    """Measure, print the tables, and keep the document where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few images and one seed, to try it")
    parser.add_argument("--json", action="store_true", help="print the document; keep it unless --quick")
    parser.add_argument("--seeds", type=int, help="trainings; default: 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL
    size = replace(size, seeds=options.seeds or size.seeds)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), size)
        measured = [measure_seed(bench, seed) for seed in range(size.seeds)]
        large = [measure_large(Path(folder), name) for name in size.large]
    seeds, right = [figures for figures, _ in measured], [rows for _, rows in measured]
    least = f"{min(size.bits)} bits"
    document = {
        "machine": describe_machine(),
        "size": asdict(size),
        "seeds": seeds,
        "mean": {name: statistics.mean(s["accuracy"][name] for s in seeds) for name in seeds[0]["accuracy"]},
        "differences": {
            "static - float": gain(right, f"static, {least}", "float"),
            "plain - static": gain(right, f"plain, {least}", f"static, {least}"),
            "kd - static": gain(right, f"kd, {least}", f"static, {least}"),
            "kd - plain": gain(right, f"kd, {least}", f"plain, {least}"),
            "kd - float": gain(right, f"kd, {least}", "float"),
            "8 bits - float": gain(right, "static, 8 bits", "float"),
        },
        "large": large,
    }
    if options.json:
        print(json.dumps(document, indent=2))
        if not options.quick:
            keep("int8", document)
    else:
        print_tables(document)


def print_tables(document: Mapping[str, Any]) -> None:
    """Print the accuracies, the differences and the times."""
    print("| file | test accuracy, mean over seeds |\n|---|---|")
    for name, value in document["mean"].items():
        print(f"| {name} | {value:.2%} |")
    print("\n| difference | points | 95 % interval |\n|---|---|---|")
    for name, found in document["differences"].items():
        low, high = (100 * end for end in found["interval"])
        print(f"| {name} | {100 * found['difference']:+.2f} | {low:+.2f} to {high:+.2f} |")
    print("\n| network | float, p50 | int8, p50 | ratio |\n|---|---|---|---|")
    rows = [{"network": STUDENT, "latency": document["seeds"][0]["latency"]}, *document["large"]]
    for row in rows:
        whole, rounded = (1e3 * row["latency"][kind]["p50"] for kind in ("float", "int8"))
        print(f"| {row['network']} | {whole:.2f} ms | {rounded:.2f} ms | {rounded / whole:.2f} |")


if __name__ == "__main__":
    main()
