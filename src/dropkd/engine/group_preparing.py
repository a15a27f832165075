"""What is known of a group before its first step: how its runs are trained, and which answers they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from dropkd.engine.cache_needs import Needs, find_needs
from dropkd.engine.footprint import free_memory, measure_footprint
from dropkd.engine.group_caching import GroupCaches, choose_caching
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.engine.group_observer import GroupObserver
from dropkd.engine.group_plan import Kind, Plan, describe_kind, plan_group, seedless
from dropkd.engine.job import Job
from dropkd.engine.setup import prepare_job
from dropkd.engine.shared import Shared
from dropkd.engine.teachers import check_teacher
from dropkd.models.teachers.given import Given

__all__ = ["Preparation"]


@dataclass
class Preparation:
    """Builds a run of each kind, and decides by them.

    Args:
        group: the runs.
        observer: who is told.
        side_by_side: whether runs that see the same batches may be trained together.
        teacher: the teacher itself, where it is not to be opened by the configurations.
        shared: what was opened stays open for the runs.
        ready: the first run that was built, by its name; others would take the memory of all.
        caches: of the runs that share the teacher's answers; None where none do.
    """

    group: GroupFolder
    observer: GroupObserver
    side_by_side: bool
    teacher: Given | None
    shared: Shared
    ready: dict[str, Job] = field(default_factory=dict)
    caches: GroupCaches | None = None

    def build(self, member: Member) -> Job:
        """Return a run ready to start."""
        return prepare_job(member.config, self.observer, teacher=self.teacher, shared=self.shared)

    def plan(self) -> Plan:
        """Return how the runs that are left are trained, having built each kind of them once.

        Raises:
            DropKDError: a mistake in the configurations, the data or the networks.
        """
        left = self.group.unfinished
        decided = all(member.shares_cache is not None for member in left)
        shares = not decided or any(member.shares_cache for member in left)
        kinds = self._look_at(self.group.members if shares else left)
        memory = self._find_memory(kinds) if self.side_by_side else None
        if shares:
            sets = plan_group(self.group.members, kinds, memory=memory).sets
            kinds = self._add_needs(sets, kinds)
            caching = choose_caching(sets, kinds, self.observer) if not decided else frozenset[str]()
            members = (
                m if m.shares_cache is not None else replace(m, shares_cache=m.name in caching)
                for m in self.group.members
            )
            self.group = GroupFolder(self.group.path, tuple(members))
            self.caches = GroupCaches(sets, kinds, self.observer)
        plan = plan_group(self.group.unfinished, kinds, memory=memory)
        self._describe(plan)
        return plan

    def _look_at(self, members: Sequence[Member]) -> Mapping[str, Kind]:
        """Return what each run is like, having built one for all that differ in their seed alone."""
        found: dict[str, Kind] = {}
        seeds = [member.config.seed for member in members]
        meets = self.side_by_side and len(set(seeds)) < len(seeds)
        for member in members:
            kind = seedless(member.config)
            if kind not in found:
                self.observer.turn_to(member.name)
                job = self.build(member)
                check_teacher(job, self.observer)
                found[kind] = describe_kind(job, measure_footprint(job) if meets else None)
                # The first run need not be built twice; more of them would take the memory of all.
                if not self.ready and not self.group.is_finished(member):
                    self.ready[member.name] = job
        return {member.name: found[seedless(member.config)] for member in members}

    def _add_needs(self, sets: Sequence[Sequence[Sequence[Member]]], kinds: Mapping[str, Kind]) -> Mapping[str, Kind]:
        """Return the kinds with what those read of the teacher that could share its answers."""
        found: dict[str, Needs | None] = {}
        added = dict(kinds)
        for member in (member for streams in sets for stream in streams for member in stream):
            kind = seedless(member.config)
            if kind not in found:
                job = self.ready.get(member.name) or self.build(member)
                found[kind] = find_needs(job, job.train_loader())
            added[member.name] = replace(added[member.name], needs=found[kind])
        return added

    def _find_memory(self, kinds: Mapping[str, Kind]) -> int:
        devices = {device for kind in kinds.values() for device in kind.pictures if isinstance(device, torch.device)}
        return min(free_memory(device) for device in devices)

    def _describe(self, plan: Plan) -> None:
        left, runs = len(self.group.unfinished), len(self.group.members)
        several = [bundle for bundle in plan.bundles if len(bundle) > 1]
        words = f"{runs} runs" if left == runs else f"{left} of {runs} runs are left"
        if several:
            together = max(len(bundle) for bundle in several)
            words += f", up to {together} of them side by side, from the same batches"
        self.observer.on_message(f"Group {self.group.path}: {words}.")
