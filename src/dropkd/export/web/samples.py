"""A few images of the run's data that the visitor of a page can try."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from dropkd.data.images import decode_from
from dropkd.data.split import Split

__all__ = ["Sample", "choose_samples"]

# Sides beyond this are shrunk: the page shows them small, and none of the classes of people's data needs more.
_SIDE = 320


@dataclass(frozen=True)
class Sample:
    """An image on the page.

    Args:
        address: the image itself, as a ``data:`` address.
        truth: what the data says that it is.
    """

    address: str
    truth: str


def choose_samples(split: Split, classes: Sequence[str], count: int) -> list[Sample]:
    """Return images of a split, of as many classes as can be."""
    rows = _spread(split, count)
    return [Sample(_encode(split, row), _say_truth(split, row, classes)) for row in rows]


def _spread(split: Split, count: int) -> list[int]:
    """Return rows whose classes differ as far as they can; the first of each."""
    targets = split.targets if split.targets.ndim == 1 else split.targets.argmax(1)
    rank = np.zeros(len(targets), np.int64)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        rank[rows] = np.arange(len(rows))
    order = np.lexsort((np.arange(len(targets)), rank))
    chosen = order[: len(np.unique(targets))]
    if len(chosen) > count:
        # Of many classes, from the first to the last.
        return [int(chosen[i]) for i in np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    return [int(row) for row in order[:count]]


def _encode(split: Split, row: int) -> str:
    if split.pack is not None:
        picture = Image.fromarray(split.pack[row])
    else:
        picture = decode_from(lambda: split.images.read(row), str(split.paths[row]))
    picture.thumbnail((_SIDE, _SIDE))
    kind = "png" if max(picture.size) <= 128 else "jpeg"
    content = BytesIO()
    picture.save(content, kind, quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _say_truth(split: Split, row: int, classes: Sequence[str]) -> str:
    target = split.targets[row]
    if split.targets.ndim == 1:
        return classes[int(target)]
    return ", ".join(classes[k] for k in np.flatnonzero(target > 0.5).tolist()) or "none"
