"""A working folder with CIFAR-100 and RAF-DB in their true layouts, a few images of each class."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.cli import run_command_line

Cli = Callable[..., tuple[int, str, str]]


def write_cifar100(folder: Path, *, train: int = 2, test: int = 1) -> None:
    """Write the three files of CIFAR-100 with so many images of each of its 100 classes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in (("train", 100 * train), ("test", 100 * test)):
        labels = [k % 100 for k in range(count)]
        content = {
            "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            "fine_labels": labels,
            "coarse_labels": [label // 5 for label in labels],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"thing_{k}" for k in range(100)]}, protocol=2))


def write_faces(root: Path, classes: int, *, train: int = 4, test: int = 2) -> None:
    """Write aligned images and their list; each class has a grey of its own under noise, so that it can be learnt."""
    (root / "Image" / "aligned").mkdir(parents=True)
    (root / "EmoLabel").mkdir()
    rng, lines = np.random.default_rng(0), []
    for split, count in (("train", train * classes), ("test", test * classes)):
        for i in range(count):
            label = i % classes
            noise = rng.integers(-8, 9, (100, 100, 3))
            pixels = (30 + 200 * label // classes + noise).astype(np.uint8)
            Image.fromarray(pixels).save(root / "Image" / "aligned" / f"{split}_{i + 1:05}_aligned.jpg")
            lines.append(f"{split}_{i + 1:05}.jpg {label + 1}")
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder, with the data where the recipes look for it."""
    root = tmp_path_factory.mktemp("paper")
    write_cifar100(root / "data" / "cifar-100-python")
    for part, classes in (("basic", 7), ("compound", 11)):
        write_faces(root / "raf-db" / part, classes)
    return root


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in that folder; the exit code, stdout and stderr."""
    monkeypatch.chdir(place)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command_line([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
