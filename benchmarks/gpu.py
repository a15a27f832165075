"""How long CIFAR-shaped distillation takes on a GPU, and how fast a large teacher answers for its cache.

    python benchmarks/gpu.py [--json] [--quick] [--device cuda] [--epochs 240] [--method kd] [--batch 64]
                             [--options channels_last,bf16,compile,graph]

First cifar_resnet56 teaches cifar_resnet20 for all epochs, on 50,000 images of 32 px that lie on the device and whose
views are made there a batch at a time. The options are switched on one after another and timed over some steps each;
the whole training is then run with all of them. ``graph``: a CUDA graph repeats a step (views apart) with one call,
where launching its thousand kernels takes longer than they do. On a CPU there is no graph, and the same static step is
called.

Then vit_large_patch14_clip_224 answers batches of images on the device, and its logits and embedding are rounded to
float16 and fetched, as for its cache. What that is of the machine: operations a second (two for a multiply-add) over
those of a large matrix product in the same precision, measured here, and over the maker's figure where it is known.

Images and weights are random: nothing is learned that would mean anything. On a GPU the engine's own step is checked
besides: it must not wait for the GPU once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.data import recipe
from dropkd.data.augment import Augmentation
from dropkd.data.device_views import DeviceViews
from dropkd.data.split import Pack
from dropkd.engine.distiller import Distiller
from dropkd.metrics import count_macs
from dropkd.models import Network, build_network
from dropkd.teacher_cache import Part
from dropkd.teacher_cache.encoding import encode_part
from record import describe_machine, keep

OPTIONS = ("channels_last", "bf16", "compile", "graph")
CLASSES, RATE, MILESTONES = 100, 0.05, (150 / 240, 180 / 240, 210 / 240)
# Steps before a graph is captured: kernels are chosen and the optimiser's state is made.
WARMUP_STEPS = 3
# Dense bfloat16 operations a second, as the maker states them.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
BOUND_MINUTES = 10.0


@dataclass(frozen=True)
class Size:
    """What is trained and asked."""

    student: str = "cifar_resnet20"
    teacher: str = "cifar_resnet56"
    images: int = 50_000
    timed_steps: int = 100
    asked: str = "vit_large_patch14_clip_224"
    asked_side: int = 224
    asked_batch: int = 256
    asked_rounds: int = 20
    product: int = 8192


QUICK = Size("cifar_resnet8", "cifar_resnet20", 64, 2, "vit_tiny_patch16_224", 32, 4, 2, 256)


class StaticStep:
    """A step of distillation on tensors that stay where they are, so that a CUDA graph can repeat it.

    Args:
        distiller: student, method and teacher, on the device.
        images: a first batch, (B, 3, H, W) uint8 on the device.
        target: its labels.
        options: of ``OPTIONS``.
        compiler: what ``compile`` compiles with.
    """

    def __init__(
        self, distiller: Distiller, images: Tensor, target: Tensor, options: Sequence[str], compiler: str = "inductor"
    ) -> None:
        self.distiller, self.options, self.device = distiller.train(), options, images.device
        on_gpu = self.device.type == "cuda"
        self.images = images.clone(memory_format=torch.channels_last) if "channels_last" in options else images.clone()
        self.target, self.index = target.clone(), torch.arange(len(target), device=self.device)
        # A tensor, since a graph would repeat the number that it was captured with.
        self.rate = torch.tensor(RATE, device=self.device)
        self.optimizer = torch.optim.SGD(
            distiller.parameters(), lr=self.rate, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=on_gpu or None
        )
        self.loss = torch.zeros((), device=self.device)
        if "channels_last" in options:
            distiller.to(memory_format=torch.channels_last)
        if "compile" in options:
            distiller.student.compile(backend=compiler)
            if distiller.teacher is not None:
                distiller.teacher.compile(backend=compiler)
        self.graph = self._capture() if "graph" in options and on_gpu else None

    def step(self, images: Tensor, target: Tensor, rate: float) -> None:
        """Do a step; its loss is added to ``loss``."""
        self.images.copy_(images)
        self.target.copy_(target)
        self.rate.fill_(rate)
        if self.graph is None:
            self._compute()
        else:
            self.graph.replay()

    def _compute(self) -> None:
        uses_bf16 = "bf16" in self.options
        with torch.autocast(self.device.type, torch.bfloat16) if uses_bf16 else nullcontext():
            losses = self.distiller(self.images, self.target, self.index)
        losses.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss += losses.loss.detach()

    def _capture(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                self._compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute()
        self.loss.zero_()
        return graph


class Epochs:
    """Batches of views of random images that lie on the device.

    Args:
        images: how many.
        batch: images a step.
        device: where.
    """

    def __init__(self, images: int, batch: int, device: torch.device) -> None:
        numbers = np.random.default_rng(0)
        pixels = numbers.integers(0, 256, (images, 32, 32, 3), np.uint8)
        chosen = recipe("cifar", view_size=(32, 32), native_size=(32, 32))
        augmentation = Augmentation(chosen, (32, 32), 0, ("standard",))
        self.views = DeviceViews(Pack(pixels, np.arange(images)), augmentation, device)
        self.labels = torch.from_numpy(numbers.integers(0, CLASSES, images)).to(device)
        self.images, self.batch = images, batch

    def __len__(self) -> int:
        return self.images // self.batch

    def draw(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images (B, 3, 32, 32) uint8 and the labels of each step."""
        order = np.random.default_rng((1, epoch)).permutation(self.images)
        # The whole order at once: a copy in each step would wait.
        labels = self.labels[torch.from_numpy(order).to(self.labels.device)]
        for start in range(0, len(self) * self.batch, self.batch):
            index: NDArray[np.int64] = order[start : start + self.batch]
            (views,) = self.views.render(index, index, epoch, np.zeros_like(index))
            yield views.permute(0, 3, 1, 2), labels[start : start + self.batch]


def rate_of(epoch: int, epochs: int) -> float:
    """Return the learning rate: a tenth of the last one from each milestone on."""
    return RATE * 0.1 ** sum(epoch >= milestone * epochs for milestone in MILESTONES)


def make_step(size: Size, method: str, epochs: Epochs, options: Sequence[str], device: torch.device) -> StaticStep:
    """Return a fresh training's step."""
    torch.manual_seed(0)
    networks = (build_network(name, num_classes=CLASSES, image_size=32) for name in (size.student, size.teacher))
    distiller = Distiller(*networks, method).to(device)
    return StaticStep(distiller, *next(epochs.draw(0)), options)


def time_options(size: Size, method: str, epochs: Epochs, options: Sequence[str], device: torch.device) -> list[Any]:
    """Return the seconds of a step with none of the options, with the first, and so on to all."""
    rows = []
    for count in range(len(options) + 1):
        step, batches = make_step(size, method, epochs, options[:count], device), list(epochs.draw(0))
        for images, target in batches[:WARMUP_STEPS]:
            step.step(images, target, RATE)
        seconds = []
        for number in range(size.timed_steps):
            _wait(device)
            started = time.perf_counter()
            step.step(*batches[number % len(batches)], RATE)
            _wait(device)
            seconds.append(time.perf_counter() - started)
        rows.append({"options": list(options[:count]), "seconds": statistics.median(seconds)})
    return rows


def train(size: Size, method: str, epochs: Epochs, options: Sequence[str], count: int, device: torch.device) -> Any:
    """Return the seconds of a whole training and the mean loss of each epoch."""
    started = time.perf_counter()
    step, losses = make_step(size, method, epochs, options, device), []
    for epoch in range(count):
        for images, target in epochs.draw(epoch):
            step.step(images, target, rate_of(epoch, count))
        losses.append(step.loss.item() / len(epochs))
        step.loss.zero_()
    _wait(device)
    return {"epochs": count, "seconds": time.perf_counter() - started, "losses": losses}


@torch.no_grad()
def time_teacher(size: Size, device: torch.device) -> dict[str, Any]:
    """Return the images a second of a teacher that answers for its cache, and what that is of the machine."""
    torch.manual_seed(0)
    teacher: Network = build_network(size.asked, num_classes=CLASSES, image_size=size.asked_side)
    macs = count_macs(teacher, size.asked_side)
    teacher = teacher.to(device).eval()
    shape = (size.asked_batch, 3, size.asked_side, size.asked_side)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    parts = (Part("logits", (CLASSES,)), Part("embedding", (teacher.shapes.embedding,)))
    autocast = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()

    def ask() -> None:
        with autocast:
            answer = teacher(images)
        for part in parts:
            encode_part(part, getattr(answer, part.name), {})

    per_second = size.asked_batch / _time(ask, size.asked_rounds, device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    left, right = (torch.randn(size.product, size.product, device=device, dtype=dtype) for _ in range(2))
    reached = 2 * size.product**3 / _time(lambda: left @ right, size.asked_rounds, device)
    operations = 2 * macs * per_second
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    stated = next((peak for key, peak in PEAKS.items() if key in name), None)
    return {
        "teacher": size.asked, "batch": size.asked_batch, "images_per_second": per_second, "macs": macs,
        "operations_per_second": operations, "of_a_matrix_product": operations / reached,
        "of_the_makers_peak": None if stated is None else operations / stated,
    }  # fmt: skip


def check_waits(device: torch.device) -> str:
    """Say whether three steps of the engine, with a cached teacher, ever wait for the GPU; raise where they do."""
    if device.type != "cuda":
        return "no GPU here to wait for"
    from dropkd.data import open_data
    from step_cost import QUICK as PAIRS
    from step_cost import Stepper, write_images

    with tempfile.TemporaryDirectory() as scratch:
        folder, pair = Path(scratch), PAIRS["cifar"]
        write_images(folder / "images", pair)
        data = open_data(str(folder / "images"), seed=0, validation_fraction=0)
        teacher = build_network(pair.teacher, num_classes=pair.classes, image_size=pair.side, classes=data.classes)
        stepper = Stepper("dropkd", pair, teacher, data, folder / "cache", is_cached=True, device=str(device))
        stepper.step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                stepper.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return "none in three steps"


def _time(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    call()
    _wait(device)
    started = time.perf_counter()
    for _ in range(rounds):
        call()
    _wait(device)
    return (time.perf_counter() - started) / rounds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=240)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--method", default="kd")
    parser.add_argument("--options", default=",".join(OPTIONS), help=f"of {', '.join(OPTIONS)}, in this order")
    parser.add_argument("--quick", action="store_true", help="small networks and two epochs, to see that it works")
    parser.add_argument("--json", action="store_true", help="write results/gpu.json, or print it with --quick")
    args = parser.parse_args()
    args.options = [name for name in args.options.split(",") if name]
    if unknown := [name for name in args.options if name not in OPTIONS]:
        parser.error(f"unknown option {unknown[0]!r}; the options are {', '.join(OPTIONS)}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --quick shows that the benchmark works")
    if args.device == "cpu" and not args.quick:
        parser.error("this is for a GPU: 240 epochs take days on a CPU; --quick shows that the benchmark works")
    return args


def main() -> None:
    """Measure, print, and keep the document."""
    args = read_arguments()
    device, size = torch.device(args.device), Size()
    if args.quick:
        size = QUICK if device.type == "cpu" else replace(Size(), images=6_400)
        args.epochs = 2
        args.batch = min(args.batch, 16)

    def show(line: str) -> None:
        print(line, flush=True, file=sys.stderr if args.quick and args.json else sys.stdout)

    document: dict[str, Any] = describe_machine(device)
    document["waits"] = check_waits(device)
    for name, value in document.items():
        show(f"{name}: {value}")
    epochs = Epochs(size.images, args.batch, device)
    show(f"\n{size.teacher} -> {size.student}, {args.method}, batch {args.batch}, {size.images:,} images of 32 px")
    document["options"] = time_options(size, args.method, epochs, args.options, device)
    for row in document["options"]:
        show(f"{' + '.join(row['options']) or 'plain float32':<44}{row['seconds'] * 1e3:8.2f} ms a step")
    document["training"] = found = train(size, args.method, epochs, args.options, args.epochs, device)
    minutes = found["seconds"] / 60
    found["within_bound"] = minutes < BOUND_MINUTES if not args.quick else None
    show(
        f"{args.epochs} epochs: {minutes:.1f} minutes (bound {BOUND_MINUTES:.0f}); last loss {found['losses'][-1]:.3f}"
    )
    document["teacher"] = asked = time_teacher(size, device)
    stated = asked["of_the_makers_peak"]
    show(
        f"{size.asked} answers {asked['images_per_second']:.1f} images a second: {asked['of_a_matrix_product']:.0%} of "
        f"a matrix product's operations{'' if stated is None else f', {stated:.0%} of the stated peak'}"
    )
    if args.json and args.quick:
        print(json.dumps(document, indent=2))
    elif args.json:
        show(f"\nwritten to {keep('gpu', document)}")


if __name__ == "__main__":
    main()
