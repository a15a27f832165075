"""Parts of a data set whose images have several labels, each part with its share of every label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratify"]


def stratify(marks: NDArray[np.float32], order: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Give each image to a part, so that each part has its share of every label, rare ones first.

    Of a label with two images or more, each of the first two parts has one at least wherever that can be; of one with
    enough images each part has.

    Args:
        marks: (N, K) of 0 and 1.
        order: the images in the order in which they are given away, which decides between equals.
        shares: of each part, in sum 1. The first is training: it has every label that there is.

    Returns:
        (N,) the number of each image's part.

    References:
        Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011, algorithm 1.

    Example:
        >>> marks = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        >>> stratify(marks, np.arange(4), (0.75, 0.25)).tolist()
        [0, 1, 0, 1]
    """
    wanted = _share_out(marks.sum(axis=0, dtype=np.float64), shares)
    room = np.array(shares) * len(marks)
    parts = np.full(len(marks), -1, np.int64)
    left = marks.sum(axis=0, dtype=np.float64)
    while left.any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        for image in order[(parts[order] < 0) & (marks[order, label] > 0)]:
            _give(image, _choose(wanted[:, label], room), parts, marks, wanted, room)
            left -= marks[image]
    for image in order[parts[order] < 0]:
        _give(image, int(room.argmax()), parts, marks, wanted, room)
    _give_back(parts, marks, order)
    return parts


def _share_out(totals: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.float64]:
    """Return (parts, K), how many images of each label each part wants: one at least, as long as there are any."""
    wanted = np.zeros((len(shares), len(totals)))
    for label, total in enumerate(totals):
        spare = total - 1
        for part, share in enumerate(shares[1:], start=1):
            wanted[part, label] = min(max(1.0, round(total * share)), spare)
            spare -= wanted[part, label]
        wanted[0, label] = 1 + spare
    return wanted


def _choose(wanted: NDArray[np.float64], room: NDArray[np.float64]) -> int:
    """Return the part that wants most of a label; among equals the one with most room."""
    most = np.flatnonzero(wanted == wanted.max())
    return int(most[room[most].argmax()])


def _give(
    image: np.int64,
    part: int,
    parts: NDArray[np.int64],
    marks: NDArray[np.float32],
    wanted: NDArray[np.float64],
    room: NDArray[np.float64],
) -> None:
    parts[image] = part
    wanted[part] -= marks[image]
    room[part] -= 1


def _give_back(parts: NDArray[np.int64], marks: NDArray[np.float32], order: NDArray[np.int64]) -> None:
    """Move images to training for the labels that it lacks, since their images went elsewhere for rarer labels."""
    for label in np.flatnonzero(marks[parts == 0].sum(axis=0) == 0):
        having = order[marks[order, label] > 0]
        if len(having) and not (parts[having] == 0).any():
            parts[having[0]] = 0
