"""A network's answer to an image file, whether a run gave it or an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.errors import DataError

__all__ = ["Prediction", "find_files", "rank_classes"]


@dataclass(frozen=True)
class Prediction:
    """A student's answer to one image file.

    Args:
        path: the file.
        label: the class with the highest probability.
        probability: that probability, 0..1.
        top: the likeliest classes with their probabilities, likeliest first.
        labels: where the student was trained on images with several labels, those with a probability of 0.5 or more,
            likeliest first, perhaps none; else None.
    """

    path: Path
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] | None = None


def find_files(paths: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return paths of images that are there.

    Raises:
        DataError: some are not, or there are none at all.
    """
    files = tuple(Path(path) for path in paths)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise DataError(f"No such image: {', '.join(map(repr, missing[:10]))}.")
    if not files:
        raise DataError("No images were given.")
    return files


def rank_classes(
    paths: Sequence[Path], probabilities: NDArray[np.float32], names: Sequence[str], *, several: bool, top: int
) -> list[Prediction]:
    """Return answers with the likeliest classes first; of equally likely ones the first in the order of the logits.

    Args:
        paths: the image files.
        probabilities: (N, K), of each image and class.
        names: of the classes, in the order of the logits.
        several: an image may have several labels, or none.
        top: how many classes to name for each.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    values = np.take_along_axis(probabilities, order, axis=1)
    found = []
    for path, shares, classes in zip(paths, values.tolist(), order.tolist(), strict=True):
        ranked = tuple((names[k], p) for k, p in zip(classes, shares, strict=True))
        labels = tuple(name for name, p in ranked if p >= 0.5) if several else None
        found.append(Prediction(path, ranked[0][0], ranked[0][1], ranked[:top], labels))
    return found
