"""timm's side of the comparison: its distillation task in the loop of its training script."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.task import LogitDistillationTask
from timm.utils import AverageMeter, CheckpointSaver
from torch import nn
from torchvision import transforms

from peers_case import (
    MOMENTUM,
    TEMPERATURE,
    WEIGHT_DECAY,
    Case,
    Networks,
    check_batch,
    count_right,
    list_changes,
    list_frame,
    measure_gradient,
    open_networks,
)
from peers_meter import Meter


def make_loader(case: Case, networks: Networks, split: str):
    """Return timm's loader of a split: batches of whole numbers, normalised as a whole."""
    dataset = create_dataset("", root=f"{case.images}/{split}")
    loader = create_loader(
        dataset,
        (3, case.side, case.side),
        case.batch,
        is_training=split == "train",
        mean=networks.mean,
        std=networks.std,
        num_workers=0,
        device=torch.device("cpu"),
    )
    # The random changes of all sides, up to whole numbers in an array, as its own transforms end.
    steps = list_changes(case) if split == "train" else list_frame(case)
    dataset.transform = transforms.Compose([*steps, transforms.PILToTensor()])
    return loader


def make_task(case: Case, networks: Networks) -> LogitDistillationTask:
    """Return timm's task for the two networks."""
    teacher, student = networks.teacher, networks.student
    for network in (teacher, student):
        # What timm's own networks know of themselves, and its task asks.
        network.pretrained_cfg = {"mean": networks.mean, "std": networks.std}
        network.num_classes, network.in_chans = networks.classes, 3
    return LogitDistillationTask(
        student, teacher, nn.CrossEntropyLoss(), distill_loss_weight=1.0, task_loss_weight=1.0,
        temperature=TEMPERATURE, verbose=False,
    )  # fmt: skip


def check_loss(case: Case, meter: Meter) -> None:
    """Tell the loss of the batch that all sides are given."""
    networks = open_networks(case, 0)
    images, target = check_batch(case)
    task = make_task(case, networks).train()
    loss = task(transforms.Normalize(networks.mean, networks.std)(images), target)["loss"]
    meter.note_check(loss.item(), measure_gradient(loss, networks.student))


def train(case: Case, seed: int, meter: Meter) -> float:
    """Train a student and return its accuracy on the test images."""
    torch.manual_seed(seed)
    networks = open_networks(case, seed)
    task = make_task(case, networks)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    student = networks.student.to(memory_format=layout)
    networks.teacher.to(memory_format=layout)
    loader, judged = make_loader(case, networks, "train"), make_loader(case, networks, "val")
    optimizer = create_optimizer_v2(
        student, opt="momentum", lr=case.lr, weight_decay=WEIGHT_DECAY, momentum=MOMENTUM, filter_bias_and_bn=False
    )
    schedule = CosineLRScheduler(optimizer, case.epochs * len(loader), t_in_epochs=False)
    folder = Path(case.scratch) / f"run-{seed}"
    folder.mkdir(parents=True)
    saver = CheckpointSaver(
        student, optimizer, checkpoint_dir=str(folder), recovery_dir=str(folder), max_history=1, task=task
    )
    updates = 0
    for epoch in range(case.epochs):
        meter.open_epoch(seed, epoch)
        task.train()
        losses = AverageMeter()
        for images, target in meter.watch(loader):
            shown = images.contiguous(memory_format=layout)
            loss = task(shown, target)["loss"]
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(target))
            optimizer.zero_grad()
            updates += 1
            schedule.step_update(num_updates=updates)
        saver.save_checkpoint(epoch, metric=count_right(student, judged))
        meter.close_epoch()
    return count_right(student, make_loader(case, networks, "test"))


def main() -> None:
    """Train each seed's student."""
    meter, case = Meter(), Case.read(Path(sys.argv[1]))
    torch.set_num_threads(1)
    meter.wait_for_turn()
    meter.note_imports()
    check_loss(case, meter)
    for seed in range(len(case.student_files)):
        started = time.process_time()
        accuracy = train(case, seed, meter)
        meter.note_run(seed, accuracy, time.process_time() - started)


if __name__ == "__main__":
    main()
