"""A group that was stopped, killed or short of memory goes on to the same bits, and repeats nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from listening import Listener
from stopped_runs import StopAt, assert_alike, checkpoint_of

import dropkd
from dropkd.engine.journal import Journal
from dropkd.engine.signals import Interrupted
from dropkd.engine.training import Training
from dropkd.group import RunGroup
from dropkd.many import resume_many

Distil = Callable[..., RunGroup]


def test_a_stopped_group_goes_on_to_the_same_bits_and_repeats_nothing(distil_many: Distil, tmp_path: Path) -> None:
    whole = distil_many("whole", seeds=(0, 1))

    class StopInSecond(StopAt):
        """Stops in the second pair of runs, in the middle of an epoch."""

        seen = 0

        def on_run(self, *, name: str, number: int, total: int) -> None:
            self.is_second = name == "cifar_resnet14-seed1"

        def on_step(self, **event: Any) -> None:
            if self.is_second:
                super().on_step(**event)

    with pytest.raises(Interrupted) as stop:
        distil_many("stopped", seeds=(0, 1), observer=StopInSecond(2, signal.SIGTERM))
    group = RunGroup.open(tmp_path / "stopped")
    assert stop.value.folder == group.folder
    assert "2 of 4 runs finished" in str(stop.value)
    assert sorted(group.runs) == ["cifar_resnet14-seed0", "cifar_resnet8-seed0"]
    done = {name: (run.folder / "last.ckpt").stat().st_mtime_ns for name, run in group.runs.items()}
    stopped = dropkd.Run.open(group.folder / "cifar_resnet14-seed1").metrics
    assert stopped["status"] == "interrupted"
    resumed = resume_many(group.folder)
    assert resumed.is_finished
    for name, run in resumed.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)
        if name in done:
            assert (run.folder / "last.ckpt").stat().st_mtime_ns == done[name]


def test_runs_that_were_killed_at_different_places_meet_again(
    distil_many: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil_many("whole", epochs=3)

    class Killed(BaseException):
        pass

    save = Training.save

    def kill_at(self: Training, journal: Journal) -> None:
        save(self, journal)
        if self.position.epoch == 2 and "resnet8" in self.folder.name:
            raise Killed

    monkeypatch.setattr(Training, "save", kill_at)
    with pytest.raises(Killed):
        distil_many("killed", epochs=3)
    monkeypatch.setattr(Training, "save", save)
    places = {
        name: checkpoint_of(tmp_path / "killed" / name)["position"]["epoch"]
        for name in ("cifar_resnet8-seed0", "cifar_resnet14-seed0")
    }
    assert places == {"cifar_resnet8-seed0": 2, "cifar_resnet14-seed0": 1}
    resumed = distil_many("killed", epochs=3)
    for name, run in resumed.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(distil_many: Distil, tmp_path: Path) -> None:
    listener = Listener()
    variants = {"usual": {}, "wild": {"training.lr": 1e30}}
    group = distil_many(students=("cifar_resnet8",), seeds=(0, 1), variants=variants, observer=listener)
    assert sorted(group.runs) == ["cifar_resnet8-usual-seed0", "cifar_resnet8-usual-seed1"]
    assert sorted(group.failures) == ["cifar_resnet8-wild-seed0", "cifar_resnet8-wild-seed1"]
    assert "not finite" in group.failures["cifar_resnet8-wild-seed0"]
    assert any(line.startswith("cifar_resnet8-wild-seed0 failed: ") for line in listener.warnings)
    assert not group.is_finished
    assert (group.folder / "comparison.html").is_file()
    (standing, wild) = group.summary()
    assert (standing.label, standing.runs, standing.splits["test"].count) == ("cifar_resnet8, usual", 2, 2)
    assert (wild.runs, dict(wild.splits)) == (2, {})


def test_a_bug_in_one_run_is_written_down_with_the_way_there(
    distil_many: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training._step

    def fail(self: Training, batch: Any) -> Any:
        if "resnet8" in self.folder.name:
            raise ZeroDivisionError("by nothing")
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_step", fail)
        group = distil_many()
    assert group.failures == {"cifar_resnet8-seed0": "ZeroDivisionError: by nothing"}
    assert "Traceback" in (group.folder / "failures" / "cifar_resnet8-seed0.txt").read_text()
    again = resume_many(group.folder)
    assert (again.failures, again.is_finished) == ({}, True)


def test_memory_that_does_not_hold_them_all_after_all_trains_one_alone(
    distil_many: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, step, failed = distil_many("whole"), Training._step, []

    def run_out(self: Training, batch: Any) -> Any:
        if "resnet8" in self.folder.name and self.position.step == 2 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("out of memory")
        return step(self, batch)

    monkeypatch.setattr(Training, "_step", run_out)
    listener = Listener()
    group = distil_many("full", observer=listener)
    assert group.failures == {}
    assert any("goes on alone later" in line for line in listener.warnings)
    for name, run in group.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)
