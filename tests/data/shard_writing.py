"""Writes shards as the field's own library does."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

# A sample: its key, and what is in it by ending.
Sample = tuple[str, Mapping[str, Any]]


def draw(seed: int, size: tuple[int, int] = (8, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def png(seed: int, size: tuple[int, int] = (8, 10)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw(seed, size)).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, samples: Iterable[Sample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for key, members in samples:
            writer.write({"__key__": key, **members})
    return path


def numbered(start: int, count: int, **more: Any) -> list[Sample]:
    """Samples with images of their own and the classes 0, 1, 0, 1, ..."""
    return [(f"{i:06}", {"png": png(i), "cls": str(i % 2), **more}) for i in range(start, start + count)]
