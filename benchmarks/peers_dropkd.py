"""dropkd's side of the comparison: `dropkd.distill`, as a user calls it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dropkd import Distiller, distill
from dropkd.data import LoadedBatch, TrainLoader
from dropkd.engine.observer import Observer
from dropkd.models import build_network, load_weights, open_network
from peers_case import CROP_SCALE, MOMENTUM, PADDING, TEMPERATURE, WEIGHT_DECAY, Case, check_batch, measure_gradient
from peers_meter import Meter

# What else the methods are told, so that a side with other defaults does the same.
OPTIONS: dict[str, dict[str, Any]] = {"kd": {"method.temperature": TEMPERATURE, "method.weights.logit": 1.0}}


class Listener(Observer):
    """Closes an epoch where its last line is written."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Tell what the epoch took."""
        self.meter.close_epoch()


def time_epochs(meter: Meter, seed: list[int]) -> None:
    """Have the training loader tell of its epochs and steps."""
    plain = TrainLoader.epoch

    def epoch(self: TrainLoader, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        meter.open_epoch(seed[0], epoch)
        yield from meter.watch(plain(self, epoch, start))

    TrainLoader.epoch = epoch  # type: ignore[method-assign]


def list_settings(case: Case, seed: int) -> dict[str, Any]:
    """Return what the other sides do and dropkd would not by default."""
    crop = (
        {"data.augmentation": "crop-flip", "data.crop_padding": PADDING}
        if case.crop == "shift"
        else {"data.augmentation": "resized-crop", "data.crop_scale": list(CROP_SCALE)}
    )
    cache = {"cache.mode": "on", "cache.folder": f"{case.scratch}/answers", "data.view_seed": 0}
    return {
        **crop,
        **OPTIONS.get(case.method, {}),
        **(cache if case.cached else {"cache.mode": "off"}),
        "method.weights.cross_entropy": 1.0,
        "student.checkpoint": case.student_files[seed],
        "training.optimizer": "sgd",
        "training.momentum": MOMENTUM,
        "training.weight_decay": WEIGHT_DECAY,
        "training.schedule": "cosine",
        "training.warmup_epochs": 0.0,
        "training.precision": "32",
    }


def check_loss(case: Case, meter: Meter) -> None:
    """Tell the loss of the batch that all sides are given."""
    teacher = open_network(Path(case.teacher_file))
    student = build_network(case.student, num_classes=teacher.shapes.logits, image_size=(case.side, case.side))
    load_weights(student.model, Path(case.student_files[0]))
    options = {name.removeprefix("method."): value for name, value in OPTIONS.get(case.method, {}).items()}
    weights = {name.removeprefix("weights."): options.pop(name) for name in list(options) if "weights." in name}
    distiller = Distiller(student, teacher, case.method, options=options, weights=weights).train()
    images, target = check_batch(case)
    losses = distiller(images, target)
    meter.note_check(losses.loss.item(), measure_gradient(losses.loss, student.model))


def main() -> None:
    """Train each seed's student."""
    meter, case = Meter(), Case.read(Path(sys.argv[1]))
    torch.set_num_threads(1)
    meter.wait_for_turn()
    meter.note_imports()
    seed = [0]
    time_epochs(meter, seed)
    if case.method == "kd":
        check_loss(case, meter)
    for seed[0] in range(len(case.student_files)):
        started = time.process_time()
        run = distill(
            case.images,
            teacher=case.teacher_file,
            student=case.student,
            method=case.method,
            output=f"{case.scratch}/run-{seed[0]}",
            epochs=case.epochs,
            batch_size=case.batch,
            image_size=case.side,
            lr=case.lr,
            seed=seed[0],
            device="cpu",
            workers=0,
            pretrained=False,
            # One of random weights is told of and used.
            teacher_check="warn",
            settings=list_settings(case, seed[0]),
            observer=Listener(meter),
        )
        accuracy = run.metrics["last_epoch"]["test"]["accuracy"]
        meter.note_run(seed[0], accuracy, time.process_time() - started)


if __name__ == "__main__":
    main()
