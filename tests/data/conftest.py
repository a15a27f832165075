"""Small trees of images to open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a function that writes random images: {"train/cat": 3} gives data/train/cat/0.png to 2.png."""

    def write(
        counts: Mapping[str, int], size: tuple[int, int] = (8, 10), name: str = "data", suffix: str = ".png"
    ) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{i}.png")
        return root

    return write


@pytest.fixture
def whole(tree: Tree) -> Path:
    """Return a folder with train, val and test of two classes."""
    return tree({f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("cat", "dog")})
