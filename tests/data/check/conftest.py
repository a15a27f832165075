"""A small data set of real images that is in order, for a test to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(clothes: Path, tmp_path: Path) -> Path:
    """A folder with train/ and test/, three classes, 24 and 8 images of each; none is like another."""
    return Path(shutil.copytree(clothes, tmp_path / "photos"))


@pytest.fixture
def picture() -> Image.Image:
    """A picture with edges, shades and colours, as a photo has them, 160 x 120."""
    rng = np.random.default_rng(3)
    low = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
    values = np.asarray(low).copy()
    values[30:70, 20:60] = (200, 40, 40)
    values[50:110, 90:110] = (30, 60, 160)
    return Image.fromarray(values)
