"""Which runs of a group are trained side by side, and which share a teacher's cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dropkd.config import Config, update_config
from dropkd.engine.cache_needs import Needs
from dropkd.engine.footprint import Footprint
from dropkd.engine.group_folder import Member
from dropkd.engine.job import Job

__all__ = ["Kind", "Plan", "describe_kind", "plan_group", "seedless", "share_views"]

# Of the free memory: what trainings take varies from step to step, and others want some as well.
_SHARE_OF_MEMORY = 0.8
# The other loggers have one run in a process at a time.
_SEVERAL_AT_ONCE = frozenset({"tensorboard"})


@dataclass(frozen=True)
class Kind:
    """What runs that differ in their seed alone are like.

    Args:
        pictures: all that decides what the teacher is asked about, but for the seed.
        batches: all that decides what a step sees, but for the seed.
        mixes: whether pictures depend on the rest of their batch, and so on the seed.
        asks: whether they learn from a teacher.
        footprint: what one takes of the memory; None where that was not measured.
        needs: what one reads of its teacher's answers; None where they can't be kept, or that was not asked.
    """

    pictures: tuple[object, ...]
    batches: tuple[object, ...]
    mixes: bool
    asks: bool
    footprint: Footprint | None = None
    needs: Needs | None = None


@dataclass(frozen=True)
class Plan:
    """How a group is trained.

    Args:
        bundles: runs that are trained side by side, one bundle after the other.
        sets: runs whose teacher is asked about the same pictures, by the batches that they see: of each set, streams of
            runs that see the same ones. With one stream alone nothing is asked twice.
    """

    bundles: tuple[tuple[Member, ...], ...]
    sets: tuple[tuple[tuple[Member, ...], ...], ...]


def share_views(members: Sequence[Member], seed: int) -> list[Member]:
    """Return the runs with the same random views and the same validation images, where nothing else is said.

    Args:
        members: the runs.
        seed: of views and splits.
    """
    shared = []
    for member in members:
        data = member.config.data
        values = {f"data.{key}": seed for key in ("view_seed", "split_seed") if getattr(data, key) is None}
        shared.append(Member(member.name, member.label, update_config(member.config, values)))
    return shared


def seedless(config: Config) -> str:
    """Return all of a configuration but its seed, as text."""
    return config.model_copy(update={"seed": 0, "output": None}).model_dump_json()


def describe_kind(job: Job, footprint: Footprint | None = None) -> Kind:
    """Return what a job has in common with those that differ from it in their seed alone."""
    config, method = job.config, job.distiller.method
    training, data = config.training, config.data
    pictures = (
        id(job.data), id(job.unlabelled), id(job.distiller.teacher), job.view_size, repr(job.recipe), method.views,
        data.distinct_views, data.view_seed, training.precision, training.channels_last, job.fabric.device,
    )  # fmt: skip
    batches = (
        *pictures, training.batch_size, data.sampling, data.unlabelled_ratio, training.mixup, training.cutmix,
    )  # fmt: skip
    mixes = bool(training.mixup or training.cutmix or data.sampling != "shuffle")
    return Kind(pictures, batches, mixes, bool(method.teacher_reads), footprint)


def plan_group(members: Sequence[Member], kinds: Mapping[str, Kind], *, memory: int | None) -> Plan:
    """Return how runs are trained.

    Which runs share pictures follows from the runs alone, not from the memory: numbers from a cache are rounded.

    Args:
        members: the runs.
        kinds: by the runs' names.
        memory: bytes that are free; None trains them one after the other.
    """
    streams: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        has_rival = any(logger not in _SEVERAL_AT_ONCE for logger in member.config.loggers)
        own = (member.name,) if memory is None or has_rival else ()
        streams.setdefault((*kinds[member.name].batches, member.config.seed, *own), []).append(member)
    askers: dict[tuple[object, ...], list[tuple[Member, ...]]] = {}
    for stream in streams.values():
        kind, asking = kinds[stream[0].name], tuple(member for member in stream if kinds[member.name].asks)
        if asking:
            alike = (kind.batches, stream[0].config.seed) if kind.mixes else ()
            askers.setdefault((*kind.pictures, *alike), []).append(asking)
    sets = tuple(tuple(several) for several in askers.values() if len(several) > 1)
    return Plan(tuple(bundle for stream in streams.values() for bundle in _fit(stream, kinds, memory)), sets)


def _fit(stream: Sequence[Member], kinds: Mapping[str, Kind], memory: int | None) -> list[tuple[Member, ...]]:
    """Return runs in bundles that the memory holds."""
    bundles: list[tuple[Member, ...]] = []
    kept = working = 0
    for member in stream:
        own = kinds[member.name].footprint or Footprint(0, 0)
        kept, working = kept + own.kept, max(working, own.working)
        if bundles and memory is not None and kept + working <= _SHARE_OF_MEMORY * memory:
            bundles[-1] = (*bundles[-1], member)
        else:
            bundles.append((member,))
            kept, working = own.kept, own.working
    return bundles
