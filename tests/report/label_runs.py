"""Run folders of images with several labels, as the engine writes them, in a fraction of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image

from dropkd.demo.images import load_demo_split
from dropkd.engine.evaluation import Answers
from dropkd.engine.judging import judge_answers, opinion_of

LABELS = ("ankle", "body", "feet", "legs", "open")
IMAGES = 60


def write_pairs(root: Path) -> Path:
    """Write a manifest of real images, two pieces of clothing side by side, and return it."""
    split = load_demo_split("test")
    (root / "pairs").mkdir(parents=True)
    rows = ["path,labels,split"]
    for k in range(IMAGES):
        picture = np.concatenate([split.images[2 * k], split.images[2 * k + 1]], axis=1)
        Image.fromarray(picture).save(root / "pairs" / f"{k:03}.png")
        names = [LABELS[j] for j in np.flatnonzero(_targets()[k])]
        rows.append(f"pairs/{k:03}.png,{';'.join(names)},{'train' if k < 20 else 'test'}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root / "list.csv"


def build_label_run(
    folder: Path, data: Path, method: str = "kd", *, skill: float = 1.0, seed: int = 0,
    labels: tuple[str, ...] = LABELS, finished: bool = True, baseline: bool = False,
) -> Path:  # fmt: skip
    """Write a run folder and return it; with ``baseline`` a plain run stands in it."""
    folder.mkdir(parents=True)
    if baseline:
        build_label_run(folder / "baseline", data, "plain", skill=skill - 0.7, seed=seed, labels=labels)
    student, teacher = _answer(skill, seed), _answer(skill + 1, 7) if method != "plain" else None
    scores = judge_answers(student, None if teacher is None else opinion_of(teacher))
    config = {
        "data": {"path": str(data)}, "student": {"name": "cifar_resnet8"}, "method": {"name": method}, "seed": seed,
        "training": {"epochs": 3},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"dropkd": "0", "command": ["dropkd", "train"]}))
    (folder / "metrics.jsonl").write_text("".join(_epoch(number, scores) for number in range(3 if finished else 1)))
    if not finished:
        return folder
    metrics: dict[str, Any] = {
        "status": "finished", "method": method, "seed": seed, "classes": list(labels), "multi_label": True,
        "student": {"name": "cifar_resnet8", "parameters": 78_000}, "train_images": 500, "test_sha256": "abc",
        "splits": {"test": scores, "val": scores}, "last_epoch": {"epoch": 2, "test": scores, "val": scores},
        "selected": {"epoch": 2, "by": "val mAP"}, "teacher": None, "baseline": "baseline" if baseline else None,
    }  # fmt: skip
    if teacher is not None:
        splits = dict.fromkeys(("test", "val"), judge_answers(teacher))
        metrics["teacher"] = {"source": "runs/teacher", "name": "resnet", "parameters": 270_000, "splits": splits}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pq.write_table(_table(student, teacher), folder / "predictions.parquet")
    return folder


def _targets() -> np.ndarray:
    return np.random.default_rng(1).random((IMAGES, 5)) < np.array([0.2, 0.5, 0.3, 0.1, 0.4])


def _answer(skill: float, seed: int) -> Answers:
    target = torch.from_numpy(_targets()).float()
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    return Answers(skill * (2 * target - 1) + noise, target)


def _epoch(number: int, scores: dict[str, Any]) -> str:
    val = {**scores, "map": scores["map"] * (0.8 + 0.1 * number)}
    terms = {"cross_entropy": {"raw": 0.5, "weighted": 0.5, "share": 1.0}}
    train = {"loss": 0.5 - 0.1 * number, "exact_match": 0.2, "agreement": None, "terms": terms}
    record = {
        "event": "epoch", "step": 10 * (number + 1), "epoch": number, "seconds": 1.0, "train": train, "val": val,
        "best": True, "lr": 0.01,
    }  # fmt: skip
    return json.dumps(record) + "\n"


def _table(student: Answers, teacher: Answers | None) -> pa.Table:
    def numbers(marks: torch.Tensor) -> list[list[int]]:
        return [row.nonzero().flatten().tolist() for row in marks]

    nobody = [None] * IMAGES
    return pa.table(
        {
            "split": ["test"] * IMAGES,
            "path": [f"pairs/{k:03}.png" for k in range(IMAGES)],
            "target": numbers(student.target),
            "prediction": numbers(student.prediction),
            "probabilities": student.probabilities.tolist(),
            "teacher_prediction": nobody if teacher is None else numbers(teacher.prediction),
            "teacher_probabilities": nobody if teacher is None else teacher.probabilities.tolist(),
        }
    )
