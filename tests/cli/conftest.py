from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.cli import run_command_line

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def teacher_run(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose student knows the three kinds of clothes. Read only."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    arguments = ["--model", "cifar_resnet8", "--epochs", "4", "--batch-size", "16", "--lr", "0.005"]
    assert run_command_line(["train", str(clothes), *arguments, "--output", str(run)]) == 0
    return run


@pytest.fixture
def photos(clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the real images that a test may spoil, as the relative path ``photos`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(clothes, tmp_path / "photos")
    return Path("photos")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line; the exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command_line([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
