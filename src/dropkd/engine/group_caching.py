"""The teacher's answers that several runs of a group read, asked for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dropkd.engine.cache_needs import Needs, find_needs
from dropkd.engine.cache_plan import CachePlan, plan_for
from dropkd.engine.caching import make_caches, say_lost
from dropkd.engine.group_folder import Member
from dropkd.engine.group_plan import Kind
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.errors import DropKDError
from dropkd.teacher_cache.covering import unite_parts

__all__ = ["GroupCaches", "choose_caching"]

# Runs that see the same batches: the teacher is asked once for all of them.
_Stream = Sequence[Member]


def choose_caching(sets: Sequence[Sequence[_Stream]], kinds: Mapping[str, Kind], observer: Observer) -> frozenset[str]:
    """Return the names of the runs that read the teacher's answers from disk, where that pays for them together.

    Args:
        sets: of each, the runs are shown the same pictures.
        kinds: by the runs' names.
        observer: who is told.
    """
    chosen: set[str] = set()
    for streams in sets:
        needs = _unite(streams, kinds)
        if needs is not None and (plan := plan_for(needs, observer)) and (plan.pays or _is_asked(streams)):
            chosen.update(member.name for stream in streams for member in stream)
    return frozenset(chosen)


def _is_asked(streams: Sequence[_Stream]) -> bool:
    return any(member.config.cache.mode == "on" for stream in streams for member in stream)


def _unite(streams: Sequence[_Stream], kinds: Mapping[str, Kind]) -> Needs | None:
    """Return what runs read together; each stream's epochs count once, however many students are in it."""
    of_streams = [[n for member in stream if (n := kinds[member.name].needs) is not None] for stream in streams]
    every = [needs for stream in of_streams for needs in stream]
    if not every:
        return None
    return replace(
        every[0],
        parts=unite_parts([needs.parts for needs in every]),
        views=max(needs.views for needs in every),
        epochs=sum(max(needs.epochs for needs in stream) for stream in of_streams if stream),
    )


class GroupCaches:
    """Has the teacher asked about all that the runs of a set will read, before the first of them begins.

    Args:
        sets: of each, the runs are shown the same pictures.
        kinds: by the runs' names.
        observer: who is told.
    """

    def __init__(self, sets: Sequence[Sequence[_Stream]], kinds: Mapping[str, Kind], observer: Observer) -> None:
        self.observer = observer
        self._needs: dict[str, Needs] = {}
        for streams in sets:
            needs = _unite(streams, kinds)
            if needs is not None:
                self._needs.update({member.name: needs for stream in streams for member in stream})
        self._built: set[int] = set()

    def prepare(self, member: Member, job: Job) -> None:
        """Build what this run and those that it shares pictures with will read; where that fails, they ask live."""
        united = self._needs.get(member.name)
        if united is None or id(united) in self._built:
            return
        self._built.add(id(united))
        try:
            own = find_needs(job, job.train_loader())
            if own is None:
                return
            # The pictures are this run's own; its seed may decide them.
            plan: CachePlan = plan_for(
                replace(own, parts=united.parts, views=united.views, epochs=united.epochs), self.observer
            )
            self.observer.on_message(plan.describe())
            make_caches(job, plan, self.observer)
        except (DropKDError, OSError) as error:
            self.observer.on_warning(say_lost(error))
