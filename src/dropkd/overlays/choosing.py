"""Which images are looked at: mistakes of one network or both, and some that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropkd.statistics.arrays import BoolArray, FloatArray, IntArray

__all__ = ["Chosen", "Verdicts", "choose_rows", "judge_shares"]

# The smallest number whose logarithm is taken: a probability of 0 is infinitely wrong.
_LEAST = 1e-12


@dataclass(frozen=True)
class Verdicts:
    """How right a network is on each image.

    Args:
        right: (N,) whether its answer is right.
        loss: (N,) how far from right it is; larger for surer mistakes.
    """

    right: BoolArray
    loss: FloatArray


@dataclass(frozen=True)
class Chosen:
    """Images of one kind.

    Args:
        title: a heading.
        text: how they were chosen.
        total: how many images are of the kind.
        rows: those that are looked at.
    """

    title: str
    text: str
    total: int
    rows: tuple[int, ...]


def judge_shares(shares: NDArray[np.floating], target: NDArray[np.generic]) -> Verdicts:
    """Return how right answers are.

    Args:
        shares: (N, K) probabilities.
        target: (N,) classes, or (N, K) which labels each image has.
    """
    if target.ndim == 2:
        truth = target.astype(np.bool_)
        gaps = np.where(truth, shares, 1 - shares).astype(np.float64)
        return Verdicts(((shares >= 0.5) == truth).all(1), -np.log(np.maximum(gaps, _LEAST)).sum(1))
    rows = np.arange(len(target))
    gaps = shares[rows, target.astype(np.int64)].astype(np.float64)
    return Verdicts(shares.argmax(1) == target, -np.log(np.maximum(gaps, _LEAST)))


def choose_rows(student: Verdicts, teacher: Verdicts | None, images: int, seed: int = 0) -> list[Chosen]:
    """Return up to so many images, as many of each kind as there are; kinds without an image are left out.

    Args:
        student: how right the student is.
        teacher: how right the teacher is, or None.
        images: how many in all.
        seed: of the draw of those that are right.
    """
    random = np.random.default_rng(seed).random(len(student.right))
    right, loss = student.right, student.loss
    if teacher is None:
        kinds = [
            ("Worst errors", "the student furthest from the truth first", ~right, loss),
            ("Right", "drawn at random", right, random),
        ]
    else:
        taught = teacher.right
        gap = loss - teacher.loss
        kinds = [
            ("Teacher right, student wrong", "where the two are furthest apart first", taught & ~right, gap),
            ("Student right, teacher wrong", "where the two are furthest apart first", right & ~taught, -gap),
            ("Both wrong", "the student furthest from the truth first", ~right & ~taught, loss),
            ("Both right", "drawn at random", right & taught, random),
        ]
    ordered = [_order(among, by) for _, _, among, by in kinds]
    counts = _share_out(images, [len(rows) for rows in ordered])
    return [
        Chosen(title, text, len(rows), tuple(rows[:count].tolist()))
        for (title, text, _, _), rows, count in zip(kinds, ordered, counts, strict=True)
        if count
    ]


def _order(among: BoolArray, by: FloatArray) -> IntArray:
    rows: IntArray = np.flatnonzero(among)
    return rows[np.argsort(-by[rows], kind="stable")]


def _share_out(total: int, there: Sequence[int]) -> list[int]:
    """Return how many of each kind are taken, in turns, until there are enough or no more.

    Example:
        >>> _share_out(6, [1, 10, 0, 10])
        [1, 3, 0, 2]
    """
    taken = [0] * len(there)
    while sum(taken) < min(total, sum(there)):
        for kind, count in enumerate(there):
            if taken[kind] < count and sum(taken) < total:
                taken[kind] += 1
    return taken
