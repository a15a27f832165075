"""Gives a teacher's answers back, as fast as memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dropkd.contracts import Outputs
from dropkd.errors import DataError
from dropkd.teacher_cache.building import member_prefix
from dropkd.teacher_cache.covering import find_cover, fit_to_need
from dropkd.teacher_cache.encoding import Part, decode_part
from dropkd.teacher_cache.folder import CacheFolder, Shard
from dropkd.teacher_cache.shards import map_shard

__all__ = ["CacheReader", "JointReader"]

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
        needs: what is read, which the cache must cover; None reads all parts as they are.
    """

    def __init__(
        self,
        cache: CacheFolder,
        *,
        template: Outputs,
        mend: Callable[[Shard], None] | None = None,
        needs: Sequence[Part] | None = None,
    ) -> None:
        self.cache = cache
        wanted = cache.parts if needs is None else needs
        covers = [(find_cover(cache.parts, need), need) for need in wanted]
        self.read_parts = tuple((kept, need) for kept, need in covers if kept is not None)
        if len(self.read_parts) < len(wanted):
            raise DataError(f"The teacher cache {str(cache.path)!r} does not hold what is to be read of it.")
        self.columns = {name: column for kept, _ in self.read_parts for name, column in kept.columns.items()}
        self.mend = mend
        self.template = template
        self.basis = cache.basis()
        self._open: OrderedDict[tuple[int, int], dict[str, NDArray[np.generic]]] = OrderedDict()
        self._checked: set[tuple[int, int]] = set()

    @property
    def bytes_per_row(self) -> int:
        """What is read of one answer."""
        return sum(kept.bytes_per_image for kept, _ in self.read_parts)

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64] | int) -> Outputs:
        """Return the answers to these rows, in float32.

        Args:
            rows: (B,).
            views: (B,) the view of each, or that of all.

        Raises:
            DataError: a shard is damaged or gone, and can't be computed anew.
        """
        return assemble(self.read_tensors(rows, views), self.template, len(rows))

    def read_tensors(self, rows: NDArray[np.int64], views: NDArray[np.int64] | int) -> dict[str, Tensor]:
        """Return what is read of the answers to these rows by the names of its parts; see :meth:`read`."""
        columns = self._gather(rows, np.broadcast_to(views, rows.shape))
        return {
            need.name: fit_to_need(kept, need, decode_part(kept, columns, self.basis)) for kept, need in self.read_parts
        }

    def _gather(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> dict[str, Tensor]:
        numbers = rows // self.cache.rows_per_shard
        if len(rows) and (numbers == numbers[0]).all() and (views == views[0]).all():
            # All rows of one shard, as in every small cache: one copy.
            shard, within = self._map(int(views[0]), int(numbers[0])), rows - numbers[0] * self.cache.rows_per_shard
            return {name: torch.from_numpy(shard[name][within]) for name in self.columns}
        columns = {
            name: torch.empty((len(rows), *shape), dtype=getattr(torch, number))
            for name, (shape, number) in self.columns.items()
        }
        shards = np.stack([views, numbers])
        for view, number in np.unique(shards, axis=1).T.tolist():
            places = np.flatnonzero((shards[0] == view) & (numbers == number))
            within = rows[places] - number * self.cache.rows_per_shard
            shard = self._map(view, number)
            for name, target in columns.items():
                target[torch.from_numpy(places)] = torch.from_numpy(shard[name][within])
        return columns

    def _map(self, view: int, number: int) -> dict[str, NDArray[np.generic]]:
        key = (view, number)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        shard = self.cache.shard(view, number)
        if key not in self._checked and not self.cache.is_intact(shard):
            self._mend(shard)
        self._checked.add(key)
        mapped = map_shard(self.cache.path / shard.file, self.columns, shard.stop - shard.start)
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


class JointReader:
    """Reads answers of which each of several caches holds a part.

    Args:
        readers: one for each cache, of the same rows.
        template: as for :class:`CacheReader`.
    """

    def __init__(self, readers: Sequence[CacheReader], template: Outputs) -> None:
        self.readers, self.template = tuple(readers), template

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64] | int) -> Outputs:
        """Return the answers to these rows, in float32; see :meth:`CacheReader.read`."""
        tensors = {name: t for reader in self.readers for name, t in reader.read_tensors(rows, views).items()}
        return assemble(tensors, self.template, len(rows))


def assemble(tensors: dict[str, Tensor], template: Outputs, rows: int, prefix: str = "") -> Outputs:
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
            assemble(tensors, member, rows, f"{prefix}{member_prefix(number)}")
            for number, member in enumerate(template.members)
        ),
    )
