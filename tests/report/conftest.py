from __future__ import annotations

from pathlib import Path

import pytest

from .run_folders import Recipe, build_run, write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def run(tmp_path: Path, images: Path) -> Path:
    """A finished DropKD run with its plain run."""
    return build_run(tmp_path / "run", images, Recipe(), baseline=True)
