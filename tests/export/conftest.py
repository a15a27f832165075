from __future__ import annotations

from pathlib import Path

import pytest

import dropkd
from dropkd.cli import run_command_line

OPTIONS = ["--epochs", "1", "--batch-size", "16", "--image-size", "32", "--no-pretrained", "--workers", "0"]


@pytest.fixture(scope="session")
def branched_run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student has blocks of several branches. Read only."""
    run = tmp_path_factory.mktemp("export") / "branched"
    assert run_command_line(["train", str(clothes), "--model", "repghostnet_050", *OPTIONS, "--output", str(run)]) == 0
    return run


@pytest.fixture(scope="session")
def distilled_run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student learned by a method that trains layers of its own beside it. Read only."""
    teacher = dropkd.create_model("cifar_resnet8", num_classes=3)
    run = dropkd.distill(
        clothes, teacher=teacher, student="cifar_resnet8", method="reviewkd", epochs=6, batch_size=16, workers=0,
        output=tmp_path_factory.mktemp("export") / "distilled", settings={"teacher_check": "off", "training.lr": 0.005},
    )  # fmt: skip
    return run.folder
