"""The random numbers of a batch of views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropkd.data import counters

__all__ = ["Draws"]


class Draws:
    """The random numbers of a batch, a column at a time, made when first asked for."""

    def __init__(
        self,
        seed: int,
        epoch: int,
        stream: tuple[int, int],
        index: NDArray[np.int64],
        repeat: NDArray[np.int64] | None,
    ) -> None:
        self.keys = counters.image_keys(counters.stream_key(seed, epoch, *stream), index)
        for number in np.unique(repeat[repeat > 0]).tolist() if repeat is not None else ():
            again = repeat == number
            self.keys[again] = counters.image_keys(counters.stream_key(seed, epoch, *stream, number), index[again])
        self.columns: dict[int, NDArray[np.float64]] = {}

    def __getitem__(self, column: int) -> NDArray[np.float64]:
        if column not in self.columns:
            self.columns[column] = counters.uniform(self.keys, column)
        return self.columns[column]
