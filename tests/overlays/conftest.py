from __future__ import annotations

from pathlib import Path

import pytest

import dropkd
from dropkd.models import build_network, save_network
from dropkd.models.tapped import TappedNetwork

from .planted import train_seer

CLASSES = ("ankle_boot", "sandal", "trouser")


@pytest.fixture(scope="session")
def seer() -> TappedNetwork:
    """A network for which one square alone decides. Read only."""
    return train_seer()


@pytest.fixture(scope="session")
def taught(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    """A run with a transformer for its teacher. Read only."""
    folder = tmp_path_factory.mktemp("taught")
    teacher = build_network("cct_2_3x2", num_classes=3, image_size=(28, 28), classes=CLASSES)
    save_network(teacher, folder / "teacher.safetensors")
    return dropkd.distill(
        clothes, teacher=folder / "teacher.safetensors", student="cifar_resnet8", method="kd", output=folder / "kd",
        epochs=2, batch_size=16, lr=0.005, teacher_check="off",
    )  # fmt: skip


@pytest.fixture(scope="session")
def plain(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    """A run without a teacher. Read only."""
    output = tmp_path_factory.mktemp("plain") / "run"
    return dropkd.train(clothes, model="cifar_resnet8", epochs=2, batch_size=16, lr=0.005, output=output)
