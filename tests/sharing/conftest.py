"""Finished runs on real images, and a hub of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from dropkd.cli import run_command_line

# The tests of this folder import the hub.
sys.path.insert(0, str(Path(__file__).parent))

from hub_server import TOKEN, Hub, start_hub


@pytest.fixture(scope="session")
def timm_run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student is one of timm's. Read only."""
    run = tmp_path_factory.mktemp("shared") / "timm"
    options = ["--epochs", "3", "--batch-size", "16", "--image-size", "32", "--no-pretrained", "--lr", "0.005"]
    assert run_command_line(["train", str(clothes), "--model", "test_resnet", *options, "--output", str(run)]) == 0
    return run


@pytest.fixture(scope="session")
def distilled_run(clothes: Path, timm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student is one of dropkd's own, and whose teacher is the other run. Read only."""
    run = tmp_path_factory.mktemp("shared") / "distilled"
    networks = ["--teacher", str(timm_run), "--student", "cifar_resnet8", "--method", "kd", "--teacher-check", "off"]
    options = ["--epochs", "2", "--batch-size", "16", "--baseline", "--set", "method.temperature=3"]
    assert run_command_line(["distill", str(clothes), *networks, *options, "--output", str(run)]) == 0
    return run


@pytest.fixture(scope="session")
def photos_of(clothes: Path) -> list[Path]:
    """The test images."""
    return sorted((clothes / "test").rglob("*.png"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine that takes one token, and an empty cache."""
    hub, server, thread = start_hub()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()
