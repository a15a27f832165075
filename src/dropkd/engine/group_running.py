"""A group of runs from its configurations to the last run's last file, and a stopped group taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dropkd.config import load_config, update_config
from dropkd.engine.cache_needs import find_needs
from dropkd.engine.footprint import free_memory, measure_footprint
from dropkd.engine.group_caching import GroupCaches, choose_caching
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.engine.group_observer import GroupObserver
from dropkd.engine.group_plan import Kind, Plan, describe_kind, plan_group, seedless
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.outcome import mark_interrupted, read_metrics
from dropkd.engine.run_folder import check_free, claim_folder, with_absolute_paths
from dropkd.engine.running import make_training, train_baseline, train_in_steps
from dropkd.engine.setup import prepare_job
from dropkd.engine.shared import Shared
from dropkd.engine.side_by_side import Turn, share_batches, take_turns
from dropkd.engine.signals import Interrupted, StopRequest
from dropkd.engine.teachers import check_teacher
from dropkd.errors import RunError
from dropkd.models.teachers.given import Given

__all__ = ["GroupRunner"]


@dataclass
class _Entry:
    """A run that is being trained."""

    member: Member
    job: Job
    turn: Turn


class GroupRunner:
    """Trains what of a group is not finished yet.

    Args:
        group: its runs; what is written is in its folder.
        observer: who is told.
        side_by_side: train runs that see the same batches together, as far as the memory goes.
        teacher: the teacher itself, where it is not to be opened by the configurations.
        on_closed: is told the folder of each run that has ended or was stopped.
    """

    def __init__(
        self,
        group: GroupFolder,
        observer: Observer,
        *,
        side_by_side: bool = True,
        teacher: Given | None = None,
        on_closed: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.group, self.side_by_side, self.teacher, self.on_closed = group, side_by_side, teacher, on_closed
        self.observer = GroupObserver(observer, [member.name for member in group.members])
        self.shared = Shared()
        self._ready: dict[str, Job] = {}
        self._caches: GroupCaches | None = None

    def run(self) -> None:
        """Train all runs to their end; one that fails is written down and does not stop the others.

        What is found wrong with a configuration or the teacher before the first step stops the group, and nothing is
        written.

        Raises:
            DropKDError: a mistake in the configurations, the data or the networks.
            Interrupted: SIGTERM or Ctrl-C came; the same call goes on.
        """
        left = self.group.unfinished
        if not left:
            return
        plan = self._plan(left)
        self.group.write()
        with self.group.working(), StopRequest() as stop:
            bundles = list(plan.bundles)
            while bundles:
                bundle = bundles.pop(0)
                bundles += self._train(bundle, stop)
                if stop.signal_number is not None and self.group.unfinished:
                    raise self._interruption(stop.signal_number)

    # Before the first step.

    def _plan(self, left: Sequence[Member]) -> Plan:
        """Return how the runs that are left are trained, having built each kind of them once."""
        decided = all(member.shares_cache is not None for member in left)
        shares = not decided or any(member.shares_cache for member in left)
        kinds = self._look_at(self.group.members if shares else left)
        memory = self._find_memory(kinds) if self.side_by_side else None
        if shares:
            sets = plan_group(self.group.members, kinds, memory=memory).sets
            caching = choose_caching(sets, kinds, self.observer) if not decided else frozenset[str]()
            members = (
                m if m.shares_cache is not None else replace(m, shares_cache=m.name in caching)
                for m in self.group.members
            )
            self.group = GroupFolder(self.group.path, tuple(members))
            self._caches = GroupCaches(sets, kinds, self.observer)
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
                job = prepare_job(member.config, self.observer, teacher=self.teacher, shared=self.shared)
                check_teacher(job, self.observer)
                needs = find_needs(job, job.train_loader()) if len(members) > 1 else None
                found[kind] = describe_kind(job, measure_footprint(job) if meets else None, needs)
                # The first run need not be built twice; more of them would take the memory of all.
                if not self._ready and not self.group.is_finished(member):
                    self._ready[member.name] = job
        return {member.name: found[seedless(member.config)] for member in members}

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

    # Training.

    def _train(self, bundle: Sequence[Member], stop: StopRequest) -> list[tuple[Member, ...]]:
        """Train runs side by side; return what is to be tried again, one by one."""
        entries = []
        for member in bundle:
            try:
                entries.append(self._begin(member, stop))
            except Interrupted:
                raise
            except Exception as error:  # one run's trouble is not the others'
                self._fail(member, error)
        share_batches([entry.turn.training for entry in entries])
        again: list[tuple[Member, ...]] = []

        def find(turn: Turn) -> _Entry:
            return next(entry for entry in entries if entry.turn is turn)

        def finish(turn: Turn, metrics: dict[str, object]) -> None:
            entry = find(turn)
            entries.remove(entry)
            self.group.forget_failure(entry.member)
            turn.training.observer.on_end(metrics)
            self.on_closed(turn.training.folder)

        def give_up(turn: Turn, error: Exception) -> None:
            entry = find(turn)
            entries.remove(entry)
            if isinstance(error, Interrupted):
                mark_interrupted(entry.job, turn.training)
                self.on_closed(turn.training.folder)
            elif isinstance(error, (torch.OutOfMemoryError, MemoryError)) and len(bundle) > 1:
                self.observer.on_warning(
                    f"{entry.member.name}: the memory does not hold so many runs side by side; it goes on alone later."
                )
                again.append((entry.member,))
            else:
                self._fail(entry.member, error)

        take_turns([entry.turn for entry in entries], on_end=finish, on_error=give_up)
        return again

    def _begin(self, member: Member, stop: StopRequest) -> _Entry:
        folder = self.group.folder_of(member)
        self.observer.turn_to(member.name)
        starts = not (folder / "config.yaml").is_file()
        if starts:
            check_free(folder, overwrite=False)
        config = member.config if starts else load_config(folder / "config.yaml")
        config = update_config(config, {"output": folder})
        job = self._ready.pop(member.name, None) if starts else None
        if job is None:
            job = prepare_job(config, self.observer, teacher=self.teacher, shared=self.shared)
        job.config = with_absolute_paths(job.config.model_copy(update={"output": folder}))
        self._check_images(job)
        if member.shares_cache and self._caches is not None:
            self._caches.prepare(member, job)
        training = make_training(job, folder, self.observer)
        training.observer = self.observer.of_run(member.name)
        if starts:
            claim_folder(folder, job)
        baseline = train_baseline(job, folder, training.observer)
        return _Entry(member, job, Turn(training, train_in_steps(job, training, baseline, stop)))

    def _check_images(self, job: Job) -> None:
        """Raise where other runs of the group learned from other images: files have changed since."""
        for member in self.group.members:
            known = read_metrics(self.group.folder_of(member))
            same_data = known and member.config.data.path == job.config.data.path
            same_split = member.config.split_seed == job.config.split_seed
            if same_data and same_split and known["train_sha256"] != job.data.train.fingerprint():
                raise RunError(
                    f"The training images are no longer those of {member.name!r} in the same group: files were added, "
                    "removed, renamed or changed. Put them back, or start a new group."
                )

    def _fail(self, member: Member, error: Exception) -> None:
        self.group.note_failure(member, error)
        self.observer.on_warning(f"{member.name} failed: {self.group.failure_of(member)}")

    def _interruption(self, number: int) -> Interrupted:
        runs = self.group.members
        done = len(runs) - len(self.group.unfinished)
        return Interrupted(number, f"with {done} of {len(runs)} runs finished", self.group.path)
