"""Builds run folders as the engine writes them, with real images, in a fraction of a second."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from dropkd.demo.images import load_demo_split
from dropkd.statistics.judging import Opinion, judge_classes, tabulate_classes, tabulate_reliability

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# Classes that look alike, and how much.
ALIKE = {(0, 6): 1.5, (2, 4): 1.5, (4, 6): 1.3, (2, 6): 1.3, (5, 7): 1.2, (7, 9): 1.1, (0, 3): 0.9, (3, 4): 0.6}
TERMS = {
    "plain": {"cross_entropy": 1.0},
    "kd": {"cross_entropy": 1.0, "logit": 1.0},
    "dropkd": {"cross_entropy": 1.0, "feature": 1.0, "reconstruction": 0.5, "domain": 0.5, "logit": 1.0},
}


@dataclass(frozen=True)
class Recipe:
    """What a synthetic run looks like."""

    method: str = "dropkd"
    seed: int = 0
    skill: float = 1.9
    teacher_skill: float = 2.3
    epochs: int = 12
    done: int | None = None  # epochs that were reached; None: all
    each: int = 16  # test images of a class, at most 200
    classes: tuple[str, ...] = CLASSES
    start: str = "2025-03-09T10:15:00+00:00"
    student: tuple[str, int, int] = ("cifar_resnet8", 78_330, 12_800_000)  # its name, parameters and multiply-adds
    teacher_macs: int = 8_000_000
    options: tuple[tuple[str, float], ...] = ()  # of the method


def write_images(root: Path, classes: tuple[str, ...] = CLASSES, each: int = 16) -> Path:
    """Write test/CLASS/NNNNN.png and return the root."""
    bundled = load_demo_split("test")
    for k, name in enumerate(classes):
        (root / "test" / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(bundled.images[bundled.labels == k][:each]):
            Image.fromarray(image).save(root / "test" / name / f"{i:05d}.png")
    return root


def build_run(folder: Path, data: Path, recipe: Recipe | None = None, *, baseline: bool = False) -> Path:
    """Write a run folder and return it; with ``baseline`` a plain run stands in it."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True)
    answers = {split: _answer(recipe, split) for split in ("val", "test")}
    if baseline:
        plain = Recipe(**{**recipe.__dict__, "method": "plain", "skill": recipe.skill - 0.2})
        build_run(folder / "baseline", data, plain)
    finished = recipe.done is None
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(recipe, data, baseline), sort_keys=False))
    (folder / "metrics.jsonl").write_text(_log(recipe, answers))
    (folder / "environment.json").write_text(json.dumps(_environment(recipe, data)))
    if finished:
        (folder / "metrics.json").write_text(json.dumps(_metrics(recipe, answers, baseline), indent=1))
        pq.write_table(_table(recipe, answers), folder / "predictions.parquet")
    return folder


def change_json(path: Path, **values: Any) -> None:
    """Replace top-level values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _answer(recipe: Recipe, split: str) -> dict[str, np.ndarray]:
    """Return target, student and teacher probabilities of a split: some images are hard for all."""
    size, images = len(recipe.classes), len(recipe.classes) * recipe.each
    likeness = np.eye(size) * 2.4
    for (i, j), value in ALIKE.items():
        if max(i, j) < size:
            likeness[i, j] = likeness[j, i] = value
    target = np.repeat(np.arange(size), recipe.each)
    shared = np.random.default_rng(1 if split == "test" else 2).normal(size=(images, size))
    found = {"target": target}
    own = sum(map(ord, recipe.method)) * 1000 + recipe.seed
    own += zlib.crc32(repr(recipe.options).encode()) if recipe.options else 0
    for network, skill, key in (("student", recipe.skill, own), ("teacher", recipe.teacher_skill, 7)):
        noise = 1.15 * shared + 0.8 * np.random.default_rng(key).normal(size=(images, size))
        logits = 1.4 * (skill * likeness[target] + noise)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        found[network] = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
    return found


def _figures(answers: dict[str, np.ndarray], network: str, with_teacher: bool) -> dict[str, Any]:
    target = answers["target"]
    student, teacher = (Opinion(answers[name].argmax(1), answers[name]) for name in (network, "teacher"))
    return {
        "agreement": None,
        **judge_classes(student, target, teacher if with_teacher else None),
        "by_class": tabulate_classes(student, target),
        "reliability": tabulate_reliability(student, target),
    }


def _metrics(recipe: Recipe, answers: dict[str, Any], baseline: bool) -> dict[str, Any]:
    taught = recipe.method != "plain"
    splits = {s: _figures(a, "student", taught) for s, a in answers.items()}
    last = {s: {**f, "accuracy": f["accuracy"] - 0.006, "loss": f["loss"] + 0.01} for s, f in splits.items()}
    teacher = {
        "source": "runs/teacher",
        "name": "cct_2_3x2",
        "parameters": 282_314,
        "macs": recipe.teacher_macs,
        "bytes": 1_129_256,
        "splits": {s: _figures(a, "teacher", False) for s, a in answers.items()},
    }
    return {
        "schema": 1,
        "status": "finished",
        "method": recipe.method,
        "seed": recipe.seed,
        "splits": splits,
        "last_epoch": {"epoch": recipe.epochs - 1, **last},
        "selected": {"epoch": recipe.epochs - 3, "by": "val accuracy"},
        "teacher": teacher if taught else None,
        "student": {
            "name": recipe.student[0],
            "parameters": recipe.student[1],
            "macs": recipe.student[2],
            "bytes": 4 * recipe.student[1],
            "initial_weights_sha256": hashlib.sha256(str(recipe.seed).encode()).hexdigest(),
            "pretrained": False,
        },
        "method_parameters": {"plain": 0, "kd": 0, "dropkd": 61_300}[recipe.method],
        "classes": list(recipe.classes),
        "train_images": 5400,
        "global_batch": 64,
        "lr": 0.1,
        "epochs": recipe.epochs,
        "steps": recipe.epochs * 85,
        "seconds": 47.3 + 6 * len(TERMS[recipe.method]),
        "test_sha256": hashlib.sha256(repr((recipe.classes, recipe.each)).encode()).hexdigest(),
        "baseline": "baseline" if baseline else None,
    }


def _log(recipe: Recipe, answers: dict[str, Any]) -> str:
    taught, steps, terms = recipe.method != "plain", 85, TERMS[recipe.method]
    val = answers["val"]
    final = {"accuracy": float((val["student"].argmax(1) == val["target"]).mean())}
    done = recipe.epochs if recipe.done is None else recipe.done
    random = np.random.default_rng(recipe.seed)
    best = 0.0
    lines: list[dict[str, Any]] = [{"event": "start", "method": recipe.method}]
    if taught:
        lines.append({"event": "teacher", "accuracy": 0.9})
    for epoch in range(done + (recipe.done is not None)):
        fade = np.exp(-2.5 * epoch / recipe.epochs)
        shapes = {n: {"raw": r, "weighted": w * r} for n, w in terms.items() if (r := _term(n, fade, random))}
        for k in range(0, steps if epoch < done else 30, 5):
            step = epoch * steps + k
            lr = 0.1 * 0.5 * (1 + np.cos(np.pi * step / (recipe.epochs * steps)))
            loss = sum(t["weighted"] for t in shapes.values()) * random.uniform(0.8, 1.2)
            lines.append({"event": "step", "epoch": epoch, "step": step, "total_steps": recipe.epochs * steps,
                          "lr": lr, "loss": loss, "terms": shapes, "seconds": 0.05 * step})  # fmt: skip
        if epoch == done:
            break
        total = sum(t["weighted"] for t in shapes.values())
        val = float(final["accuracy"] - 0.35 * fade * random.uniform(0.8, 1.2) * (epoch < recipe.epochs - 3))
        train = {n: {**t, "share": t["weighted"] / total} for n, t in shapes.items()}
        lines.append({"event": "epoch", "epoch": epoch, "seconds": 4.1 * (epoch + 1), "lr": lr,
                      "train": {"loss": total, "accuracy": val - 0.03 + 0.06 * (1 - fade), "terms": train,
                                "agreement": val - 0.01 if taught else None},
                      "val": {"loss": 1.15 - val + fade, "accuracy": val, "agreement": val + 0.03 if taught else None},
                      "best": val > best})  # fmt: skip
        best = max(best, val)
    if recipe.done is None:
        lines.append({"event": "end"})
    return "".join(json.dumps(line) + "\n" for line in lines)


def _term(name: str, fade: float, random: np.random.Generator) -> float:
    start = {"cross_entropy": 2.0, "logit": 3.1, "feature": 1.4, "reconstruction": 0.9, "domain": 2.2}[name]
    return float(start * (0.2 + 0.8 * fade) * random.uniform(0.96, 1.04))


def _table(recipe: Recipe, answers: dict[str, Any]) -> pa.Table:
    parts = []
    for split, found in answers.items():
        paths = [f"test/{name}/{i:05d}.png" for name in recipe.classes for i in range(recipe.each)]
        taught = recipe.method != "plain"
        nothing = [None] * len(paths)
        parts.append(
            pa.table(
                {
                    "split": [split] * len(paths),
                    "path": paths,
                    "target": found["target"],
                    "prediction": found["student"].argmax(1),
                    "probabilities": pa.array(list(found["student"]), pa.list_(pa.float32())),
                    "teacher_prediction": pa.array(
                        found["teacher"].argmax(1).tolist() if taught else nothing, pa.int64()
                    ),
                    "teacher_probabilities": pa.array(
                        list(found["teacher"]) if taught else nothing, pa.list_(pa.float32())
                    ),
                }
            )
        )
    return pa.concat_tables(parts)


def _config(recipe: Recipe, data: Path, baseline: bool) -> dict[str, Any]:
    options = {"feature_rate_teacher": 0.5, "feature_rate_student": 0.5} if recipe.method == "dropkd" else {}
    options |= dict(recipe.options)
    return {
        "data": {"path": str(data), "image_size": 28, "augmentation": "crop-flip", "flip": True, "workers": 0},
        "student": {"name": recipe.student[0], "pretrained": False, "options": {}},
        "teacher": None if recipe.method == "plain" else {"source": "runs/teacher", "map_modules": None},
        "method": {"name": recipe.method, "weights": TERMS[recipe.method], "warmup_epochs": 0.0, **options},
        "training": {"epochs": recipe.epochs, "batch_size": 64, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9},
        "seed": recipe.seed,
        "device": "cpu",
        "baseline": baseline,
    }


def _environment(recipe: Recipe, data: Path) -> dict[str, Any]:
    verb = ["train", str(data), "--model"] if recipe.method == "plain" else ["distill", str(data), "--student"]
    return {
        "dropkd": "0.1.0", "python": "3.11.7", "torch": "2.14.0", "timm": "1.0.31", "platform": "Linux x86_64",
        "device": "cpu", "threads": 1, "started": recipe.start,
        "command": ["/usr/bin/dropkd", *verb, "cifar_resnet8", "--epochs", str(recipe.epochs), "--output", "my run"],
        "departures": {"method.name": "plain", "training.epochs": None} if recipe.method != "plain" else {},
    }  # fmt: skip
