from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .run_folders import Recipe, build_run, write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def built_run(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    return build_run(tmp_path_factory.mktemp("built") / "run", images, Recipe(), baseline=True)


@pytest.fixture
def run(tmp_path: Path, built_run: Path) -> Path:
    """A finished DropKD run with its plain run, to be changed at will."""
    shutil.copytree(built_run, tmp_path / "run")
    return tmp_path / "run"
