"""A run of a few seconds: a student and a teacher of a few thousand parameters on real images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dropkd.config import Config, load_config
from dropkd.group import RunGroup
from dropkd.many import distill_many
from dropkd.models import build_network, save_network

# The tests of this folder import what is beside them.
sys.path.insert(0, str(Path(__file__).parent))

CLASSES = ("ankle_boot", "sandal", "trouser")


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory, clothes: Path) -> Path:
    """A transformer of random weights with the classes of ``clothes``."""
    torch.manual_seed(7)
    options = {"patch_size": 7, "embed_dim": 24, "depth": 2, "num_heads": 2}
    name = "timm/vit_tiny_patch16_224"
    network = build_network(name, num_classes=3, image_size=(28, 28), options=options, classes=CLASSES)
    path = tmp_path_factory.mktemp("teacher") / "vit.safetensors"
    save_network(network, path)
    return path


@pytest.fixture
def configure(clothes: Path, teacher_file: Path, tmp_path: Path) -> Callable[..., Config]:
    """Return a configuration of three short epochs; keyword arguments change it, two underscores for a dot."""

    def make(method: str = "dropkd", output: str = "run", **changes: Any) -> Config:
        flags: dict[str, Any] = {
            "data.path": str(clothes),
            "student.name": "cifar_resnet8",
            "method.name": method,
            "training.epochs": 3,
            "training.batch_size": 16,
            "teacher_check": "off",
            "output": str(tmp_path / output),
        }
        if method != "plain":
            flags["teacher.source"] = f"timm/vit_tiny_patch16_224:{teacher_file}"
        return load_config(flags={**flags, **{key.replace("__", "."): value for key, value in changes.items()}})

    return make


@pytest.fixture
def distil_many(
    clothes: Path, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunGroup]:
    """Distil the small transformer into two students, or others, in a group; with caches of its own."""
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "caches"))

    def run(
        output: str = "group", students: Sequence[str] = ("cifar_resnet8", "cifar_resnet14"), **more: Any
    ) -> RunGroup:
        settings = {"teacher_check": "off", "threads": 1, **more.pop("settings", {})}
        return distill_many(
            clothes, teacher=f"timm/vit_tiny_patch16_224:{teacher_file}", students=students, output=tmp_path / output,
            settings=settings, **{"epochs": 2, "batch_size": 16, **more},
        )  # fmt: skip

    return run
