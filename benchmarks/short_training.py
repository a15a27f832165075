"""Short trainings of a small student with the teacher's answers computed once: what the benchmarks of methods share."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dropkd.contracts import Batch, Outputs
from dropkd.data import Recipe, Split, TrainLoader
from dropkd.engine.distiller import Distiller
from dropkd.engine.schedule import Schedule
from dropkd.models import Network

__all__ = [
    "STANDARD",
    "Budget",
    "Lesson",
    "append_result",
    "format_spread",
    "measure_accuracy",
    "read_results",
    "remember",
    "train",
]

STANDARD = Recipe("shift", crop_padding=2)
_WARMUP = 0.1


class Lesson(NamedTuple):
    """A batch of training images with the teacher's answer to them in half precision."""

    images: Tensor
    batch: Batch
    answer: Outputs


@dataclass(frozen=True)
class Budget:
    """How a student is trained: AdamW under a cosine, the same for every method.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        lr: peak learning rate.
        weight_decay: of what has more than one dimension.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 5e-3
    weight_decay: float = 0.05


@torch.no_grad()
def remember(
    teacher: Network,
    split: Split,
    budget: Budget,
    seed: int,
    views: tuple[str, ...],
    reads: frozenset[str],
    recipe: Recipe = STANDARD,
) -> list[list[Lesson]]:
    """Return each epoch's batches of a seed with the teacher's answers to the very views that the student sees.

    Args:
        teacher: in evaluation mode.
        split: the training images.
        budget: epochs and batch size.
        seed: of the order and the views.
        views: the kinds of view of each image.
        reads: which fields of the answer are kept; maps are large.
        recipe: the random changes of the images.
    """
    size = teacher.spec.image_size
    loader = TrainLoader(
        split, size=size, recipe=recipe, batch_size=budget.batch_size, seed=seed, views=views, drop_last=True,
    )  # fmt: skip

    def learn() -> Iterator[list[Lesson]]:
        for epoch in range(budget.epochs):
            yield [
                Lesson(b.images, Batch(b.target, b.index, epoch), _narrow(_ask(teacher, b.images, reads), reads))
                for b in loader.epoch(epoch)
            ]

    with torch.autocast("cpu", torch.bfloat16):
        return list(learn())


def _ask(teacher: Network, images: Tensor, reads: frozenset[str]) -> Outputs:
    answer: Outputs = teacher(images, maps="maps" in reads, preactivations="preactivations" in reads)
    return answer


def _narrow(answer: Outputs, reads: frozenset[str]) -> Outputs:
    kept = answer if "classifier" in reads else answer._replace(classifier=None)
    return kept.apply(lambda tensor: tensor.to(torch.bfloat16))


def train(distiller: Distiller, lessons: Sequence[Sequence[Lesson]], budget: Budget) -> float:
    """Train the distiller's student on what was remembered and return the seconds it took."""
    started = time.perf_counter()
    groups = [
        {"params": [p for p in distiller.parameters() if (p.ndim > 1) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, budget.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW([{**group, "base_lr": budget.lr} for group in groups], lr=budget.lr)
    steps = len(lessons[0])
    warmup = round(_WARMUP * budget.epochs * steps)
    schedule = Schedule("cosine", budget.epochs * steps, steps, warmup_steps=warmup)
    distiller.train()
    for epoch, epoch_lessons in enumerate(lessons):
        for step, (images, batch, answer) in enumerate(epoch_lessons):
            schedule.apply(optimizer, epoch * steps + step)
            with torch.autocast("cpu", torch.bfloat16):
                losses = distiller(images, batch.target, batch.index, epoch, teacher_outputs=answer.float())
            losses.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        distiller.method.end_epoch(epoch)
    return time.perf_counter() - started


@torch.no_grad()
def measure_accuracy(network: Network, split: Split) -> float:
    """Return the share of a packed split's images that a network gets right, in evaluation mode."""
    network.eval()
    right = 0
    for start in range(0, len(split), 500):
        rows = range(start, min(start + 500, len(split)))
        pixels = torch.from_numpy(np.stack([split.pack[i] for i in rows])).permute(0, 3, 1, 2)
        right += int((network(pixels, maps=False).logits.argmax(1).numpy() == split.targets[start : rows.stop]).sum())
    return right / len(split)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the results so far, one for each line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append_result(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line, so that what is done is kept when the script is stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def format_spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}} +- {deviation:.2f}"
