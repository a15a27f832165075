"""Asks the teacher once about every view, and writes down what it says."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.errors import DropKDError
from dropkd.teacher_cache.encoding import Part, encode_part
from dropkd.teacher_cache.folder import CacheFolder, Shard

__all__ = ["CacheFullError", "Questions", "build_cache", "build_shard", "find_basis", "member_prefix", "split_answer"]

# Rows whose maps decide the principal components.
_BASIS_ROWS = 2_048


class CacheFullError(DropKDError):
    """No space is left for the cache."""


@dataclass(frozen=True)
class Questions:
    """Where the teacher's answers come from.

    Args:
        ask: gives the answers to rows ``start`` to ``stop`` of a view, in order, some at a time.
    """

    ask: Callable[[int, int, int], Iterator[Outputs]]


def build_cache(
    cache: CacheFolder,
    views: int,
    questions: Questions,
    *,
    progress: Callable[[int, int], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> int:
    """Compute what is missing of the first so many views; return how many rows that were.

    A build that was killed goes on with the first shard that is not there. Where another process builds the same
    cache, its end is awaited, and what it has written is not computed again.

    Args:
        cache: the folder.
        views: how many, counted from the first.
        questions: where the answers come from.
        progress: is told how many rows of how many are done.
        on_wait: is called where another process is building, before its end is awaited.

    Raises:
        CacheFullError: no space is left; what was written so far stays and is right.
    """
    # A cache that is whole may lie where nobody may write, a lock neither.
    if not cache.missing(views):
        return 0
    with cache.building(on_wait=on_wait):
        missing = cache.missing(views)
        total = sum(shard.stop - shard.start for shard in missing)
        if missing and any(part.encoding.channels for part in cache.parts) and not cache.basis():
            cache.put_basis(find_basis(cache.parts, questions.ask(0, 0, min(cache.rows, _BASIS_ROWS))))
        done = 0
        for shard in missing:
            build_shard(cache, shard, questions)
            done += shard.stop - shard.start
            if progress is not None:
                progress(done, total)
    return total


def build_shard(cache: CacheFolder, shard: Shard, questions: Questions) -> None:
    """Compute one shard and write it.

    Raises:
        CacheFullError: no space is left.
    """
    basis = cache.basis()
    gathered: dict[str, list[Tensor]] = {name: [] for name in cache.columns}
    for answer in questions.ask(shard.view, shard.start, shard.stop):
        tensors = split_answer(answer)
        for part in cache.parts:
            for name, column in encode_part(part, tensors[part.name], basis).items():
                gathered[name].append(column)
    try:
        cache.put(shard, {name: torch.cat(columns) for name, columns in gathered.items()})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheFullError(
                f"No space is left for the teacher cache in {str(cache.path)!r}. Free some, choose another place by "
                "cache.folder or the environment's DROPKD_CACHE, or remove old ones with `dropkd cache prune`."
            ) from error
        raise


def member_prefix(number: int) -> str:
    """Return what the names of an ensemble's member begin with."""
    return f"member{number}."


def split_answer(answer: Outputs) -> dict[str, Tensor]:
    """Return the tensors of an answer by the names of their parts; an ensemble's members have their number before."""
    members = {
        f"{member_prefix(number)}{name}": values
        for number, member in enumerate(answer.members)
        for name, values in split_answer(member).items()
    }
    return members | {
        "logits": answer.logits,
        "embedding": answer.embedding,
        **{f"map{number}": values for number, values in enumerate(answer.maps)},
        **{f"preactivation{number}": values for number, values in enumerate(answer.preactivations)},
    }


def find_basis(parts: Sequence[Part], answers: Iterable[Outputs]) -> dict[str, Tensor]:
    """Return mean and principal components of the channels of each map that is reduced.

    Args:
        parts: what is kept of an answer.
        answers: to some images.
    """
    reduced = [part for part in parts if part.encoding.channels]
    sums = {part.name: _Moments(part) for part in reduced}
    for answer in answers:
        tensors = split_answer(answer)
        for part in reduced:
            sums[part.name].add(tensors[part.name])
    return _merge(sums[part.name].components() for part in reduced)


def _merge(parts: Iterator[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor for part in parts for name, tensor in part.items()}


class _Moments:
    """Adds up means and products of channels, in double precision."""

    def __init__(self, part: Part) -> None:
        channels = part.shape[0]
        self.part = part
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        grid = self.part.encoding.grid
        pooled = values.float() if grid is None else F.adaptive_avg_pool2d(values.float(), grid)
        vectors = pooled.permute(0, 2, 3, 1).flatten(0, 2).double().cpu()
        self.count += len(vectors)
        self.total += vectors.sum(0)
        self.products += vectors.T @ vectors

    def components(self) -> dict[str, Tensor]:
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        _, vectors = torch.linalg.eigh(covariance)
        # eigh sorts from small to large.
        chosen = vectors.flip(1)[:, : self.part.encoding.channels].T
        name = self.part.name
        return {f"{name}.mean": mean.float(), f"{name}.components": chosen.float().contiguous()}
