"""What ``scaling.py`` measures: functions that return seconds of the processor by stage.

Each is called in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401 - what writes tables loads it when it first does
import torch

import dropkd
from dropkd import functional
from dropkd.contracts import Outputs
from dropkd.data import TrainLoader, open_data
from dropkd.data.recipes import Recipe
from dropkd.data.sampling import EpochOrder
from dropkd.engine.evaluation import Answers, score_answers
from dropkd.engine.observer import Observer
from dropkd.engine.predictions import PredictionsFile
from dropkd.engine.teacher_check import judge_teacher
from dropkd.teacher_cache import (
    CacheFolder,
    CacheKey,
    CacheReader,
    Encoding,
    Part,
    Questions,
    build_cache,
    folder,
    list_caches,
)

BATCH = 64


class Stages:
    """Adds up the processor's time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.process_time()

    def note(self, stage: str) -> None:
        """A stage ends here."""
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def open_images(path: str) -> dict[str, float]:
    """Open a data set, take its fingerprint, and draw the orders of an epoch."""
    stages = Stages()

    def progress(done: int, of: int) -> None:
        # Files are listed before the first of them is read, and splits are cut after the last.
        stages.note("list" if "list" not in stages.seconds else "read and decode")

    data = open_data(path, progress=progress)
    stages.note("cut splits")
    data.train.fingerprint()
    stages.note("fingerprint")
    loader = TrainLoader(data.train, size=(32, 32), recipe=Recipe(crop_padding=4), batch_size=BATCH, seed=0)
    loader.plan(0)
    stages.note("order of an epoch")
    EpochOrder(data.train.targets, "balanced", seed=0).draw(0)
    stages.note("balanced order")
    return stages.seconds


class Watch(Observer):
    """Notes the stages of a run."""

    def __init__(self) -> None:
        self.stages = Stages()

    def on_start(self, **_: Any) -> None:
        """The first step comes next."""
        self.stages.note("start")

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is over, its validation too."""
        self.stages.note("epoch")


def train(path: str, output: str) -> dict[str, float]:
    """Train a small network for an epoch."""
    watch = Watch()
    dropkd.train(
        Path(path), model="cifar_resnet8", epochs=1, batch_size=BATCH, device="cpu", output=Path(output),
        observer=watch, settings={"threads": 1, "data.workers": 0, "cache.mode": "off"},
    )  # fmt: skip
    watch.stages.note("figures and report")
    return watch.stages.seconds


def keep_answers(root: str, rows: int, views: int, shards: int) -> dict[str, float]:
    """Build a cache of so many views in so many shards each, find it again, and read two epochs of it."""
    part = Part("logits", (100,), Encoding("float16"))
    folder._SHARD_BYTES = part.bytes_per_image * -(-rows // shards)
    answers = torch.randn(rows, 100, generator=torch.Generator().manual_seed(0))

    def ask(view: int, start: int, stop: int) -> Iterator[Outputs]:
        yield Outputs(answers[start:stop] + view, (), torch.empty(stop - start, 0))

    stages = Stages()
    cache = CacheFolder.create(Path(root), CacheKey({"views": views}), (part,), rows=rows, labels={})
    build_cache(cache, views, Questions(ask))
    stages.note("build")
    (cache,) = list_caches(Path(root))
    if cache.views() != views or cache.missing(views):
        raise SystemExit("the cache that was built is not whole")
    stages.note("find")
    reader = CacheReader(cache, template=Outputs(answers[:1], (), torch.empty(1, 0)))
    for epoch, stage in ((0, "first epoch"), (views, "epoch again")):
        order = np.random.default_rng(epoch).permutation(rows)
        for start in range(0, rows, BATCH):
            reader.read(order[start : start + BATCH], epoch % views)
        stages.note(stage)
    return stages.seconds


def lose(classes: int) -> dict[str, float]:
    """Compute each loss of logits and its gradient on a batch; seconds of one."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, BATCH, classes, generator=generator)
    student, target = student.requires_grad_(), torch.arange(BATCH) % classes
    losses: dict[str, Callable[[], torch.Tensor]] = {
        "kd": partial(functional.kd_loss, student, teacher),
        "dkd": partial(functional.dkd_loss, student, teacher, target),
        "dist": partial(functional.dist_loss, student, teacher),
        "ofa": partial(functional.ofa_loss, student, teacher, target),
        "mld": partial(functional.mld_loss, student, student, teacher, teacher),
        "logit dropout": partial(functional.logit_dropout_loss, student, teacher),
    }
    found = {}
    for name, loss in losses.items():
        times = []
        for _ in range(4):
            began = time.process_time()
            loss().backward()
            times.append(time.process_time() - began)
        # The first one fills caches and pools.
        found[name] = min(times[1:])
    return found


def judge(classes: int, images: int, output: str) -> dict[str, float]:
    """Judge answers to a split, and write them down."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (images,), generator=generator)
    student, teacher = (Answers(torch.randn(images, classes, generator=generator), target) for _ in range(2))
    stages = Stages()
    score_answers(student, teacher)
    stages.note("figures")
    judge_teacher(teacher, [str(number) for number in range(classes)], None)
    stages.note("teacher's check")
    with PredictionsFile(Path(output), False) as table:
        table.add("test", [str(number) for number in range(images)], student, teacher)
    stages.note("predictions")
    return stages.seconds


POINTS: dict[str, Callable[..., dict[str, float]]] = {
    "open": open_images, "train": train, "cache": keep_answers, "losses": lose, "judge": judge,
}  # fmt: skip


def measure(point: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a process of its own measures: ``seconds`` by stage, and ``mebibytes``, its peak over this one's.

    It is forked off this one, which has all libraries, so that these are in no measurement.
    """
    context = multiprocessing.get_context("fork")
    ours, its = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(its, point, arguments))
    process.start()
    its.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        raise SystemExit(f"{point} {dict(arguments)} failed, see above") from None
    process.join()
    return found


def _send(pipe: Connection, point: str, arguments: Mapping[str, Any]) -> None:
    before = _peak_bytes()
    seconds = POINTS[point](**arguments)
    pipe.send({"seconds": seconds, "mebibytes": (_peak_bytes() - before) / 2**20})


def _peak_bytes() -> int:
    """Return the largest share of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
