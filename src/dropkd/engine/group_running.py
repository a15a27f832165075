"""A group of runs from its configurations to the last run's last file, and a stopped group taken up again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dropkd.config import load_config, update_config
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.engine.group_observer import GroupObserver
from dropkd.engine.group_preparing import Preparation
from dropkd.engine.job import Job
from dropkd.engine.observer import Observer
from dropkd.engine.outcome import mark_interrupted, read_metrics
from dropkd.engine.run_folder import check_free, claim_folder, with_absolute_paths
from dropkd.engine.running import make_training, train_baseline, train_in_steps
from dropkd.engine.shared import Shared
from dropkd.engine.side_by_side import Turn, share_batches, take_turns
from dropkd.engine.signals import Interrupted, StopRequest
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
        self.group, self.on_closed = group, on_closed
        self.observer = GroupObserver(observer, [member.name for member in group.members])
        self.preparation = Preparation(group, self.observer, side_by_side, teacher, Shared())

    def run(self) -> None:
        """Train all runs to their end; one that fails is written down and does not stop the others.

        What is found wrong with a configuration or the teacher before the first step stops the group, and nothing is
        written.

        Raises:
            DropKDError: a mistake in the configurations, the data or the networks.
            Interrupted: SIGTERM or Ctrl-C came; the same call goes on.
        """
        if not self.group.unfinished:
            return
        plan = self.preparation.plan()
        self.group = self.preparation.group
        self.group.write()
        with self.group.working():
            bundles = list(plan.bundles)
            while bundles:
                bundles += self._train(bundles.pop(0))

    def _train(self, bundle: Sequence[Member]) -> list[tuple[Member, ...]]:
        """Train runs side by side; return what is to be tried again, one by one.

        Raises:
            Interrupted: SIGTERM or Ctrl-C came.
        """
        entries, stop = [], StopRequest()
        for member in bundle:
            try:
                entries.append(self._begin(member, stop))
            except Interrupted as stopped:  # in a baseline
                raise self._interruption(stopped.signal_number) from stopped
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

        # Before the first step a signal acts at once: building a cache may take hours.
        with stop:
            take_turns([entry.turn for entry in entries], on_end=finish, on_error=give_up)
        if stop.signal_number is not None and self.group.unfinished:
            raise self._interruption(stop.signal_number)
        return again

    def _begin(self, member: Member, stop: StopRequest) -> _Entry:
        folder = self.group.folder_of(member)
        self.observer.turn_to(member.name)
        starts = not (folder / "config.yaml").is_file()
        if starts:
            check_free(folder, overwrite=False)
        config = member.config if starts else load_config(folder / "config.yaml")
        config = update_config(config, {"output": folder})
        job = self.preparation.ready.pop(member.name, None) if starts else None
        job = job or self.preparation.build(replace(member, config=config))
        job.config = with_absolute_paths(job.config.model_copy(update={"output": folder}))
        self._check_images(job)
        if member.shares_cache and self.preparation.caches is not None:
            self.preparation.caches.prepare(member, job)
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
            if same_data and same_split and known.get("train_sha256") != job.data.train.fingerprint():
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
