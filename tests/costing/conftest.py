from __future__ import annotations

from pathlib import Path

import pytest

import dropkd
from dropkd.models import build_network, save_network


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_network(build_network("cifar_resnet14", num_classes=3, image_size=28), path)
    return path


@pytest.fixture(scope="session")
def finished(clothes: Path, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.Run:
    """A finished run on real images. Read only."""
    return dropkd.distill(
        clothes, teacher=str(teacher_file), student="cifar_resnet8", method="kd", epochs=1, batch_size=16,
        output=tmp_path_factory.mktemp("finished") / "run", teacher_check="off", device="cpu",
    )  # fmt: skip
