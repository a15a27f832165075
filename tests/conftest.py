"""One CPU thread, so that results do not depend on the machine and tests do not crowd each other; real images."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from PIL import Image

from dropkd.demo.images import CLASSES, load_demo_split

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of real images: three classes, 24 training and 8 test images of each, 28 x 28. Read only."""
    folder = tmp_path_factory.mktemp("clothes")
    for name, count in (("train", 24), ("test", 8)):
        split = load_demo_split(name)
        for label in (1, 5, 9):
            (folder / name / CLASSES[label]).mkdir(parents=True)
            for row in (split.labels == label).nonzero()[0][:count]:
                path = folder / name / CLASSES[label] / f"{split.index[row]:05}.png"
                Image.fromarray(split.images[row]).save(path)
    return folder
