"""What all sides of the comparison with other libraries are given: images, networks, a schedule, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from dropkd.models import build_network, load_weights, open_network, save_network

__all__ = ["Case", "Networks", "check_batch", "count_right", "list_changes", "list_frame", "open_networks"]

MOMENTUM, WEIGHT_DECAY, TEMPERATURE = 0.9, 5e-4, 4.0
PADDING, CROP_SCALE = 4, (0.35, 1.0)


@dataclass(frozen=True)
class Case:
    """One training that every side does.

    Args:
        student: the student's name, which timm or dropkd knows.
        teacher_file: the teacher, as dropkd writes a network.
        student_files: the student's first weights, one file for each seed.
        images: an image folder with ``train``, ``val`` and ``test``.
        side: pixels of a view.
        crop: how a view is cut: ``shift`` (from a border of 4 px) or ``resized`` (35 to 100 % of the area); then a
            flip.
        batch: images a step.
        epochs: passes over the training images.
        lr: peak learning rate of SGD, which falls to 0 along half a cosine.
        method: what the student learns by; the labels' cross-entropy has weight 1 beside it.
        scratch: a folder of the side's own.
        channels_last: for the sides that leave that to their user.
        cached: dropkd keeps the teacher's answers on disk; the seeds share them.
    """

    student: str
    teacher_file: str
    student_files: tuple[str, ...]
    images: str
    side: int
    crop: str
    batch: int
    epochs: int
    lr: float
    method: str = "kd"
    scratch: str = ""
    channels_last: bool = False
    cached: bool = False

    def write(self, path: Path) -> None:
        """Write the case for the process of a side."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`write` wrote."""
        content = json.loads(path.read_text())
        return cls(**{**content, "student_files": tuple(content["student_files"])})


@dataclass(frozen=True)
class Networks:
    """Plain modules, as a library gets them that knows nothing of dropkd."""

    student: nn.Module
    teacher: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int


def open_networks(case: Case, seed: int) -> Networks:
    """Return the teacher and a student with its first weights, and what images are normalised by, for both alike."""
    teacher = open_network(Path(case.teacher_file))
    student = build_network(case.student, num_classes=teacher.shapes.logits, image_size=(case.side, case.side))
    load_weights(student.model, Path(case.student_files[seed]))
    if (student.spec.mean, student.spec.std) != (teacher.spec.mean, teacher.spec.std):
        # Not every library can show the teacher other numbers than the student.
        raise SystemExit(f"{case.student} and its teacher are not normalised alike: choose another pair.")
    # Not every library does this by itself, and it decides what is learned.
    teacher.model.eval().requires_grad_(False)
    return Networks(student.model.train(), teacher.model, student.spec.mean, student.spec.std, student.shapes.logits)


def list_changes(case: Case) -> list[Callable[[Any], Any]]:
    """Return the random changes of a training image, by torchvision."""
    crop: Callable[[Any], Any] = (
        transforms.RandomCrop(case.side, padding=PADDING)
        if case.crop == "shift"
        else transforms.RandomResizedCrop(case.side, scale=CROP_SCALE)
    )
    return [crop, transforms.RandomHorizontalFlip()]


def list_frame(case: Case) -> list[Callable[[Any], Any]]:
    """Return what makes of an image what a network is judged by."""
    return [] if case.crop == "shift" else [transforms.Resize(case.side), transforms.CenterCrop(case.side)]


def check_batch(case: Case) -> tuple[Tensor, Tensor]:
    """Return a batch of images in 0..1 and their labels, by which the losses of all sides are compared."""
    source = torch.Generator().manual_seed(7)
    images = torch.randint(256, (case.batch, 3, case.side, case.side), generator=source) / 255
    classes = len([path for path in (Path(case.images) / "train").iterdir() if path.is_dir()])
    return images, torch.randint(classes, (case.batch,), generator=source)


def measure_gradient(loss: Tensor, student: nn.Module) -> float:
    """Return the length of a loss's gradient for the student; the student is left as it was."""
    gradients = torch.autograd.grad(loss, [p for p in student.parameters() if p.requires_grad])
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


@torch.inference_mode()
def count_right(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Return the share of images that a model gets right; it is left in evaluation mode."""
    model.eval()
    right = images = 0
    for pixels, target in loader:
        right += int((model(pixels).argmax(1) == target).sum())
        images += len(target)
    return right / images


def frame_loader(case: Case, networks: Networks, split: str) -> DataLoader[Any]:
    """Return the batches of a split by which a network is judged, by torchvision."""
    steps = [*list_frame(case), transforms.ToTensor(), transforms.Normalize(networks.mean, networks.std)]
    return DataLoader(ImageFolder(Path(case.images) / split, transforms.Compose(steps)), batch_size=case.batch)


def write_students(name: str, classes: int, side: int, seeds: Sequence[int], folder: Path) -> tuple[str, ...]:
    """Write the first weights of a student for each seed and return the files."""
    files = []
    for seed in seeds:
        torch.manual_seed(seed)
        path = folder / f"{name}-{seed}.safetensors"
        save_network(build_network(name, num_classes=classes, image_size=(side, side)), path)
        files.append(str(path))
    return tuple(files)


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write an image, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)
