"""The end of a run: the final numbers, the predictions and the environment, as files."""

from __future__ import annotations

import copy
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dropkd.data import Split
from dropkd.engine.evaluation import Answers, answer_split, score_answers
from dropkd.engine.fabric import computes_in_float32
from dropkd.engine.imbalance import is_imbalanced
from dropkd.engine.job import Job
from dropkd.engine.journal import read_journal
from dropkd.engine.judging import judge_answers, opinion_of
from dropkd.engine.pool import record_pool
from dropkd.engine.predictions import PredictionsFile
from dropkd.engine.qat import FLOAT_FILE
from dropkd.engine.relabelled import write_relabelled
from dropkd.engine.selection import SCORE_NAMES, measure_selection_bonus
from dropkd.engine.teacher_answers import answer_once
from dropkd.engine.training import Training
from dropkd.errors import RunError
from dropkd.files import replacing, write_text
from dropkd.metrics.network_cost import measure_network
from dropkd.models import Network, count_parameters, load_weights, read_rounding

__all__ = [
    "METRICS_SCHEMA",
    "conclude",
    "describe_environment",
    "mark_interrupted",
    "read_departures",
    "read_metrics",
    "write_json",
]

METRICS_SCHEMA = 1


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the content of a run folder's ``metrics.json``; empty while the run goes on.

    Raises:
        RunError: it is damaged.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(_say_damaged(path, folder, str(error))) from error
    if not isinstance(content, dict):
        raise RunError(_say_damaged(path, folder, f"it holds a {type(content).__name__}"))
    return content


def _say_damaged(path: Path, folder: Path, reason: str) -> str:
    return f"{str(path)!r} is damaged ({reason}). Delete it and have it written anew: dropkd resume {folder}"


def describe_environment(job: Job) -> dict[str, Any]:
    """Return what the numbers may depend on beside the configuration."""
    packages = ["dropkd", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow"]
    return {
        **{name: version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(job.fabric.device),
        "device_name": torch.cuda.get_device_name(job.fabric.device)
        if job.fabric.device.type == "cuda"
        else platform.machine(),
        "threads": torch.get_num_threads(),
        "command": ["dropkd", *sys.argv[1:]] if Path(sys.argv[0]).name in ("dropkd", "__main__.py") else [],
        "departures": dict(job.departures),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_departures(folder: Path) -> dict[str, Any]:
    """Return what a run was asked for beside the defaults, by key, with the default; nothing where it does not say."""
    try:
        content = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = content.get("departures") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def conclude(job: Job, training: Training, *, baseline: str | None) -> dict[str, Any]:
    """Judge the selected and the last weights, write ``predictions.parquet`` and ``metrics.json``, return the latter.

    Where the method has changed labels, ``relabelled.csv`` is written as well. The test split is read here, once;
    nothing that happened before depends on it.
    """
    last = training.judged
    selected = copy.deepcopy(last)
    load_weights(selected.model, training.folder / "student.safetensors")
    if (rounding := read_rounding(training.folder / "student.safetensors")) is not None:
        selected.roundings.read_ends(rounding)
    teacher = job.distiller.teacher
    last_scores: dict[str, Any] = {"epoch": training.position.epoch - 1}
    is_last = training.position.best_epoch == last_scores["epoch"]
    splits: dict[str, Any] = {}
    experts_scores: dict[str, Any] = {}

    def answer(network: Network, split: Split) -> Answers:
        # In float32 whatever the run trained in, as the student is used and as `dropkd evaluate` judges it.
        return answer_split(network, job.eval_loader(split, network), job.fabric.device)

    # The answers to one split at a time: with ten thousand classes those to both hardly fit into memory.
    with (
        replacing(training.folder / "predictions.parquet") as unfinished,
        PredictionsFile(unfinished, job.data.multi_label) as predictions,
    ):
        for name, split in (("val", job.data.val), ("test", job.data.test)):
            if split is None:
                continue
            knows_classes = teacher is not None and teacher.shapes.logits == len(job.data.classes)
            # It may have been asked already, in the way that it is asked here.
            experts = None
            if name == "val" and training.val_teacher is not None and computes_in_float32(job.fabric):
                experts = training.val_teacher()
            elif teacher is not None and knows_classes:
                asked = ("float32", name, id(teacher), id(job.data), job.config.training.batch_size)
                experts = job.shared.remember(
                    asked, partial(answer_once, job, teacher, split, name, "32", partial(answer, teacher, split))
                )
            judged = answer(selected, split)
            predictions.add(name, split.relative_paths, judged, experts)
            splits[name] = judge_answers(judged, None if experts is None else opinion_of(experts))
            if experts is not None:
                experts_scores[name] = judge_answers(experts)
            if not is_last:
                # The same weights have the same answers.
                del judged
                judged = answer(last, split)
            last_scores[name] = score_answers(judged, experts)
            del judged, experts
    relabelled = write_relabelled(training.folder, job.data.train)
    metrics = {
        **describe_run(job, training),
        "status": "finished",
        "splits": splits,
        "last_epoch": last_scores,
        "selected": _describe_selection(job, training),
        "selection_bonus": _measure_bonus(job, training),
        "teacher": describe_teacher(job, experts_scores),
        "baseline": baseline,
        "qat": _describe_qat(job, training, answer),
        **({} if relabelled is None else {"relabelled": relabelled}),
    }
    write_json(training.folder / "metrics.json", metrics)
    return metrics


def _describe_qat(job: Job, training: Training, answer: Callable[[Network, Split], Answers]) -> dict[str, Any] | None:
    """Return how the student was rounded, and how good it was before; None where it was not."""
    if job.qat is None:
        return None
    before = copy.deepcopy(training.judged)
    load_weights(before.model, training.folder / FLOAT_FILE)
    before.roundings.switch(before.model, is_on=False)
    splits = {part.name: part for part in (job.data.val, job.data.test) if part is not None}
    return {
        "start_epoch": job.qat.first,
        "weight_bits": before.roundings.weight_bits,
        "layers": len(before.roundings.plan.layers),
        "float": {name: score_answers(answer(before, split)) for name, split in splits.items()},
    }


def _measure_bonus(job: Job, training: Training) -> dict[str, Any] | None:
    epochs = [event for event in read_journal(training.folder / "metrics.jsonl") if event["event"] == "epoch"]
    return measure_selection_bonus(epochs, training.position.best_epoch, job.data.multi_label)


def mark_interrupted(job: Job, training: Training) -> None:
    """Write a ``metrics.json`` that says how far the run came."""
    position = training.position
    metrics = {
        **describe_run(job, training),
        "status": "interrupted",
        "splits": {} if position.best_val is None else {"val": position.best_val},
        "last_epoch": None if position.last_val is None else {"epoch": position.epoch - 1, "val": position.last_val},
        "selected": _describe_selection(job, training) if position.best_epoch >= 0 else None,
        "teacher": describe_teacher(job, {}),
        "baseline": None,
    }
    write_json(training.folder / "metrics.json", metrics)


def describe_run(job: Job, training: Training) -> dict[str, Any]:
    """Return what identifies a run: method, student, data and budget as they really were."""
    config, student, stop = job.config, job.distiller.student, training.early_stop
    return {
        "schema": METRICS_SCHEMA,
        "method": config.method.name,
        "seed": config.seed,
        "student": {
            "name": student.spec.name,
            **asdict(measure_network(student)),
            "pretrained": config.student.pretrained,
            "initial_weights_sha256": job.initial_weights,
            "image_size": list(student.spec.image_size),
        },
        "method_parameters": count_parameters(job.distiller.method),
        "classes": list(job.data.classes),
        "multi_label": job.data.multi_label,
        "train_images": len(job.data.train),
        "train_sha256": job.data.train.fingerprint(),
        "test_sha256": job.data.test.fingerprint() if job.data.test is not None else None,
        **record_pool(job, training.train_loader),
        "view_size": list(job.view_size),
        "global_batch": config.training.batch_size * config.training.accumulate,
        "lr": config.training.lr,
        "class_counts": job.data.train.class_counts.tolist(),
        "imbalanced": is_imbalanced(job.data.train),
        "epochs": config.training.epochs if stop is None else stop.epochs,
        "steps": training.total_steps if stop is None else training.done_steps,
        "stopped_early": None if stop is None else asdict(stop),
        "seconds": training.position.seconds,
        "teacher_cache": None if training.cached is None else training.cached.describe(),
    }


def _describe_selection(job: Job, training: Training) -> dict[str, Any]:
    score = SCORE_NAMES.get(job.config.training.select_by, "accuracy")
    by = f"val {score}" if job.data.val is not None else "last epoch"
    return {"epoch": training.position.best_epoch, "by": by}


def describe_teacher(job: Job, scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what identifies the teacher, with its scores per split, or None where there is none."""
    teacher, source = job.distiller.teacher, job.config.teacher
    if teacher is None:
        return None
    return {
        "source": source.source if source is not None else teacher.spec.name,
        "name": teacher.spec.name,
        # Runs that take turns share the teacher.
        **asdict(job.shared.remember(("cost", id(teacher)), partial(measure_network, teacher))),
        "splits": dict(scores),
    }
