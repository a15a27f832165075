"""Gives a teacher's answers back, as fast as memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.errors import DataError
from dropkd.teacher_cache.building import member_prefix
from dropkd.teacher_cache.encoding import decode_part
from dropkd.teacher_cache.folder import CacheFolder, Shard
from dropkd.teacher_cache.shards import map_shard

__all__ = ["CacheReader"]

# Each takes a mapping of the process; there is no end of them in a cache larger than memory.
_OPEN_SHARDS = 256


class CacheReader:
    """Reads rows of a cache.

    A shard's checksum is compared when it is first read. One that is damaged is mended where that is possible.

    Args:
        cache: the folder.
        mend: computes a shard anew; None where nobody can.
        template: any answer of the teacher's, which says how many maps and members it has; maps that are not kept are
            empty. Its classifiers' weights belong to every answer.
    """

    def __init__(
        self,
        cache: CacheFolder,
        *,
        template: Outputs,
        mend: Callable[[Shard], None] | None = None,
    ) -> None:
        self.cache = cache
        self.mend = mend
        self.template = template
        self.basis = cache.basis()
        self._open: OrderedDict[tuple[int, int], dict[str, NDArray[np.generic]]] = OrderedDict()
        self._checked: set[tuple[int, int]] = set()

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64] | int) -> Outputs:
        """Return the answers to these rows, in float32.

        Args:
            rows: (B,).
            views: (B,) the view of each, or that of all.

        Raises:
            DataError: a shard is damaged or gone, and can't be computed anew.
        """
        numbers = rows // self.cache.rows_per_shard
        columns = {
            name: torch.empty((len(rows), *shape), dtype=getattr(torch, number))
            for name, (shape, number) in self.cache.columns.items()
        }
        shards = np.stack([np.broadcast_to(views, rows.shape), numbers])
        for view, number in np.unique(shards, axis=1).T.tolist():
            places = np.flatnonzero((shards[0] == view) & (numbers == number))
            within = rows[places] - number * self.cache.rows_per_shard
            shard = self._map(view, number)
            for name, target in columns.items():
                target[torch.from_numpy(places)] = torch.from_numpy(shard[name][within])
        tensors = {part.name: decode_part(part, columns, self.basis) for part in self.cache.parts}
        return _assemble(tensors, self.template, len(rows))

    def _map(self, view: int, number: int) -> dict[str, NDArray[np.generic]]:
        key = (view, number)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        shard = self.cache.shard(view, number)
        if key not in self._checked and not self.cache.is_intact(shard):
            self._mend(shard)
        self._checked.add(key)
        mapped = map_shard(self.cache.path / shard.file, self.cache.columns, shard.stop - shard.start)
        self._open[key] = mapped
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return mapped

    def _mend(self, shard: Shard) -> None:
        if self.mend is None:
            raise DataError(
                f"{str(self.cache.path / shard.file)!r} is damaged: its content is not what was written. "
                "`dropkd cache verify --remove` removes it, and the next run computes it anew."
            )
        with self.cache.building():
            # Another process may have mended it meanwhile.
            if not self.cache.is_intact(shard):
                self.mend(shard)


def _assemble(tensors: dict[str, Tensor], template: Outputs, rows: int, prefix: str = "") -> Outputs:
    """Return an answer like the template of what is kept; what nobody reads is empty."""
    empty = torch.empty(rows, 0)

    def stack(kind: str, count: int) -> tuple[Tensor, ...]:
        return tuple(tensors.get(f"{prefix}{kind}{n}", torch.empty(rows, 0, 0, 0)) for n in range(count))

    return Outputs(
        tensors.get(f"{prefix}logits", empty),
        stack("map", len(template.maps)),
        tensors.get(f"{prefix}embedding", empty),
        template.classifier,
        stack("preactivation", len(template.preactivations)),
        tuple(
            _assemble(tensors, member, rows, f"{prefix}{member_prefix(number)}")
            for number, member in enumerate(template.members)
        ),
    )
