"""The images and the teachers of the comparison with other libraries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import dropkd
from dropkd.demo.images import DemoSplit, load_demo_split
from dropkd.models import build_network, save_network
from peers_case import Case, save_picture, write_students

__all__ = ["Size", "make_case"]

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """How much is trained.

    Args:
        images: training images.
        judged: validation images.
        tested: test images.
        epochs: passes over the training images.
        batch: images a step.
        seeds: students.
        teacher_epochs: passes over the training images by which the small teacher learns; 0 leaves it as it is.
    """

    images: int
    judged: int
    tested: int
    epochs: int
    batch: int
    seeds: int
    teacher_epochs: int = 0


def make_case(name: str, size: Size, folder: Path) -> Case:
    """Write images, teacher and the students' first weights, and return the case; what is there already is taken."""
    return _make_small(size, folder) if name == "32" else _make_large(size, folder)


def _make_small(size: Size, folder: Path) -> Case:
    """Clothes at 32 px, and a ResNet-56 that has learned from them."""
    images = folder / "images"
    if not images.exists():
        train, test = load_demo_split("train"), load_demo_split("test")
        parts = {
            "train": (train, _pick(train, 0, size.images)),
            "val": (train, _pick(train, size.images, size.images + size.judged)),
            "test": (test, _pick(test, 0, size.tested)),
        }
        for split, (source, rows) in parts.items():
            for row in rows:
                framed = np.pad(source.images[row], 2)
                path = images / split / str(source.labels[row]) / f"{row:05}.png"
                save_picture(np.repeat(framed[..., None], 3, axis=2), path)
    teacher = folder / "teacher.safetensors"
    if not teacher.exists() and size.teacher_epochs:
        run = dropkd.train(
            images, model="cifar_resnet56", output=folder / "teacher", epochs=size.teacher_epochs,
            batch_size=size.batch, image_size=32, seed=100, device="cpu", workers=0, pretrained=False,
        )  # fmt: skip
        (run.folder / "student.safetensors").rename(teacher)
    elif not teacher.exists():
        _write_random("cifar_resnet56", CLASSES, 32, teacher)
    students = write_students("cifar_resnet20", CLASSES, 32, range(size.seeds), folder)
    return Case(
        "cifar_resnet20", str(teacher), students, str(images), 32, "shift", size.batch, size.epochs, lr=0.02,
    )  # fmt: skip


def _pick(split: DemoSplit, start: int, stop: int) -> list[int]:
    """Return the numbers of those images that come ``start``-th to ``stop``-th where the classes take turns."""
    by_class = [np.flatnonzero(split.labels == label) for label in range(CLASSES)]
    return [int(by_class[number % CLASSES][number // CLASSES]) for number in range(start, stop)]


def _make_large(size: Size, folder: Path) -> Case:
    """Parts of two photographs as JPEG of 500 x 375 pixels, and a vision transformer of random weights."""
    images = folder / "images"
    if not images.exists():
        photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
        source = np.random.default_rng(0)
        for split, count in (("train", size.images), ("val", size.judged), ("test", size.tested)):
            for number in range(count):
                high = source.uniform(200, 427)
                left, top = source.uniform(0, 640 - high * 4 / 3), source.uniform(0, 427 - high)
                box = (left, top, left + high * 4 / 3, top + high)
                part = np.asarray(photos[number % 2].resize((500, 375), Image.Resampling.BICUBIC, box=box))
                # A sensor's noise: without it an enlarged photograph has less to decode than a real one.
                noisy = part + source.normal(0, 3, (375, 500, 1))
                save_picture(noisy.clip(0, 255).astype(np.uint8), images / split / str(number % 2) / f"{number}.jpg")
    teacher = folder / "teacher.safetensors"
    if not teacher.exists():
        # Of timm's small vision transformers the one that is normalised as the student is.
        _write_random("deit_small_patch16_224", 2, 224, teacher)
    students = write_students("mobilenetv2_100", 2, 224, range(size.seeds), folder)
    return Case(
        "mobilenetv2_100", str(teacher), students, str(images), 224, "resized", size.batch, size.epochs, lr=0.02,
    )  # fmt: skip


def _write_random(name: str, classes: int, side: int, path: Path) -> None:
    torch.manual_seed(100)
    save_network(build_network(name, num_classes=classes, image_size=(side, side)), path)
