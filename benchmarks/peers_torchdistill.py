"""torchdistill's side of the comparison: its distillation box in the loop of its example for image classification."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import RandomSampler, SequentialSampler
from torchdistill.common.main_util import save_ckpt, set_seed
from torchdistill.core.distillation import DistillationBox, get_distillation_box
from torchdistill.misc.log import MetricLogger, SmoothedValue
from torchvision import transforms
from torchvision.datasets import ImageFolder

from peers_case import (
    MOMENTUM,
    TEMPERATURE,
    WEIGHT_DECAY,
    Case,
    Networks,
    check_batch,
    count_right,
    frame_loader,
    list_changes,
    measure_gradient,
    open_networks,
)
from peers_meter import Meter

# What a term reads of both networks.
_LOGITS, _EMBEDDINGS = (
    {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in (("path", path), ("io", io))}
    for path, io in ((".", "output"), ("fc", "input"))
)
_STAGES = {"layer1": 16, "layer2": 32, "layer3": 64}
# What is kept of the inside of both networks.
METHODS: dict[str, dict[str, list[str]]] = {
    "kd": {"input": [], "output": []},
    "lskd": {"input": [], "output": []},
    "dist": {"input": [], "output": []},
    "pkt": {"input": ["fc"], "output": []},
    "sp": {"input": [], "output": ["layer3"]},
    "at": {"input": [], "output": list(_STAGES)},
    "vid": {"input": [], "output": list(_STAGES)},
}


def describe_terms(method: str) -> dict[str, Any]:
    """Return torchdistill's terms for a method; beside all but KD, whose loss has it, stands the cross-entropy."""
    if method == "kd":
        kd = term("KDLoss", **_LOGITS, temperature=TEMPERATURE, alpha=1.0, beta=1.0, reduction="batchmean")
        return {"kd": kd}
    labels = term("CrossEntropyLoss", reduction="mean")
    labels["criterion_wrapper"] = {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": ".", "io": "output"},
            "target": {"uses_label": True},
        },
    }
    return {"labels": labels, method: _describe_method(method)}


def _describe_method(method: str) -> dict[str, Any]:
    if method == "lskd":
        return term("LogitStdKDLoss", **_LOGITS, temperature=TEMPERATURE, alpha=0.0, reduction="batchmean")
    if method == "dist":
        return term("DISTLoss", **_LOGITS)
    if method == "pkt":
        return term("PKTLoss", **_EMBEDDINGS)
    if method == "sp":
        return term("SPKDLoss", student_output_path="layer3", teacher_output_path="layer3", reduction="batchmean")
    if method == "at":
        stage = {name: {who: {"path": name, "io": "output"} for who in ("student", "teacher")} for name in _STAGES}
        return term("ATLoss", at_pairs=stage)
    if method == "vid":
        pairs = {
            name: {
                "student": {"path": f"regressor_dict.{name}", "io": "output"},
                "teacher": {"path": name, "io": "output"},
            }
            for name in _STAGES
        }
        return term("VIDLoss", feature_pairs=pairs)
    raise SystemExit(f"no settings of torchdistill for {method!r}; there are: {', '.join(METHODS)}")


def describe_student(method: str) -> dict[str, Any]:
    """Return what of the student is read, and what is built around it."""
    if method != "vid":
        return {"forward_hook": METHODS[method]}
    regressors = {
        name: {
            "path": f"student_model.{name}",
            "io": "output",
            "kwargs": {
                "in_channels": width,
                "middle_channels": width,
                "out_channels": width,
                "eps": 1e-5,
                "init_pred_var": 5.0,
            },
        }
        for name, width in _STAGES.items()
    }
    names = [f"student_model.{name}" for name in _STAGES] + [f"regressor_dict.{name}" for name in _STAGES]
    return {
        "auxiliary_model_wrapper": {"key": "VariationalDistributor4VID", "kwargs": {"regressors": regressors}},
        "forward_hook": {"input": [], "output": names},
    }


def term(key: str, **kwargs: Any) -> dict[str, Any]:
    """Return a term of the loss as its configuration files have it."""
    return {"criterion": {"key": key, "kwargs": kwargs}, "weight": 1.0}


def describe_training(case: Case, steps: int) -> dict[str, Any]:
    """Return the part ``train`` of torchdistill's configuration."""

    def loader(split: str, sampler: type) -> dict[str, Any]:
        kwargs = {"batch_size": case.batch, "num_workers": 0, "drop_last": False}
        return {"dataset_id": split, "sampler": {"class_or_func": sampler, "kwargs": None}, "kwargs": kwargs}

    return {
        "num_epochs": case.epochs,
        "train_data_loader": loader("train", RandomSampler),
        "val_data_loader": loader("val", SequentialSampler),
        "teacher": {"forward_proc": "forward_batch_only", "forward_hook": METHODS[case.method], "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", **describe_student(case.method), "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": case.lr, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}},
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": case.epochs * steps}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": describe_terms(case.method)}},
    }


def make_box(case: Case, networks: Networks) -> DistillationBox:
    """Return torchdistill's box for the two networks and the images."""
    steps = [*list_changes(case), transforms.ToTensor(), transforms.Normalize(networks.mean, networks.std)]
    images = ImageFolder(f"{case.images}/train", transforms.Compose(steps))
    datasets = {"train": images, "val": frame_loader(case, networks, "val").dataset}
    config = describe_training(case, len(images) // case.batch)
    device = torch.device("cpu")
    return get_distillation_box(networks.teacher, networks.student, datasets, config, device, None, False, 1)


def check_loss(case: Case, meter: Meter) -> None:
    """Tell the loss of the batch that all sides are given."""
    networks = open_networks(case, 0)
    box = make_box(case, networks)
    box.pre_epoch_process(epoch=0)
    images, target = check_batch(case)
    loss = box.forward_process(transforms.Normalize(networks.mean, networks.std)(images), target, {})
    meter.note_check(loss.item(), measure_gradient(loss, networks.student))


def train(case: Case, seed: int, meter: Meter) -> float:
    """Train a student and return its accuracy on the test images."""
    set_seed(seed)
    networks = open_networks(case, seed)
    box = make_box(case, networks)
    best = 0.0
    for epoch in range(case.epochs):
        meter.open_epoch(seed, epoch)
        box.pre_epoch_process(epoch=epoch)
        log = MetricLogger(delimiter="  ")
        log.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        for images, target, supplement in meter.watch(log.log_every(box.train_data_loader, 100, "")):
            loss = box.forward_process(images, target, supplement)
            box.post_forward_process(loss=loss)
            log.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        accuracy = count_right(networks.student, box.val_data_loader)
        if accuracy > best:
            best = accuracy
            path = f"{case.scratch}/run-{seed}/student.pt"
            save_ckpt(networks.student, box.optimizer, box.lr_scheduler, best, argparse.Namespace(), path)
        box.post_epoch_process()
        meter.close_epoch()
    box.clean_modules()
    return count_right(networks.student, frame_loader(case, networks, "test"))


def main() -> None:
    """Train each seed's student."""
    meter, case = Meter(), Case.read(Path(sys.argv[1]))
    torch.set_num_threads(1)
    meter.wait_for_turn()
    meter.note_imports()
    if case.method == "kd":
        check_loss(case, meter)
    for seed in range(len(case.student_files)):
        started = time.process_time()
        accuracy = train(case, seed, meter)
        meter.note_run(seed, accuracy, time.process_time() - started)


if __name__ == "__main__":
    main()
