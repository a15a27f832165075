"""Many runs of one teacher: each is the run that it is alone, whatever goes on beside it, and nothing is done twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from listening import Listener
from stopped_runs import StopAt, assert_same, checkpoint_of
from torch import Tensor, nn

import dropkd
from dropkd import api
from dropkd.config import Config, load_config, update_config
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.engine.journal import Journal
from dropkd.engine.signals import Interrupted
from dropkd.engine.training import Training
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.group import RunGroup
from dropkd.many import distill_many, resume_many, run_many
from dropkd.models import open_teacher
from dropkd.models.tapped import TappedNetwork

Distil = Callable[..., RunGroup]


@pytest.fixture
def distil(clothes: Path, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distil:
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "caches"))

    def run(output: str = "group", students: tuple[str, ...] = ("cifar_resnet8", "cct_2_3x2"), **more: Any) -> RunGroup:
        settings = {"teacher_check": "off", "threads": 1, **more.pop("settings", {})}
        return distill_many(
            clothes, teacher=f"timm/vit_tiny_patch16_224:{teacher_file}", students=students, output=tmp_path / output,
            settings=settings, **{"epochs": 2, "batch_size": 16, **more},
        )  # fmt: skip

    return run


def alone(group: RunGroup, name: str, output: Path) -> dropkd.Run:
    """Train one run of a group by itself."""
    config = load_config(group.folder / name / "config.yaml")
    return api.run(update_config(config, {"output": output}))


def assert_alike(one: Path, other: Path) -> None:
    """All that two runs left behind is the same but for the clock."""
    for name in ("student.safetensors", "predictions.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert_same(checkpoint_of(one), checkpoint_of(other))
    first, second = (dropkd.Run.open(folder).metrics for folder in (one, other))
    for metrics in (first, second):
        metrics.pop("seconds")
    assert first == second


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        # Masks from the global generator, a transformer with dropout, mixing of batches, a running average.
        ("dropkd", {"training.mixup": 0.4, "training.cutmix": 1.0, "training.ema_decay": 0.9}),
        ("kd", {"training.precision": "bf16", "training.accumulate": 3, "training.gradient_clip": 1.0}),
        # Two views of each image, and two passes of the student.
        ("mld", {"data.sampling": "balanced"}),
        ("plain", {"student.options": {}}),
    ],
)
def test_runs_side_by_side_are_bit_for_bit_those_that_they_are_alone(
    distil: Distil, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    group = distil(method=method, settings=settings)
    assert sorted(group.runs) == ["cct_2_3x2-seed0", "cifar_resnet8-seed0"]
    for name, run in group.runs.items():
        assert_alike(run.folder, alone(group, name, tmp_path / name).folder)


def test_runs_from_one_cache_are_bit_for_bit_those_that_they_are_alone(distil: Distil, tmp_path: Path) -> None:
    group = distil(seeds=(3, 5), settings={"cache.mode": "on"})
    assert len(group.runs) == 4
    for name in ("cct_2_3x2-seed5", "cifar_resnet8-seed3"):
        run = group.runs[name]
        assert run.metrics["teacher_cache"]["to_the_end"]
        assert (run.config.view_seed, run.config.split_seed) == (3, 3)
        assert_alike(run.folder, alone(group, name, tmp_path / name).folder)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each question to the teacher in training, where it sees the whole view."""
    asked: list[int] = []
    forward = TappedNetwork.forward

    def count(self: TappedNetwork, images: Tensor, **wanted: Any) -> Any:
        if not wanted.get("crop", True):
            asked.append(len(images))
        return forward(self, images, **wanted)

    monkeypatch.setattr(TappedNetwork, "forward", count)
    return asked


def test_students_that_see_the_same_batches_ask_the_teacher_once(distil: Distil, questions: list[int]) -> None:
    students = ("cifar_resnet8", "cifar_resnet14", "cct_2_3x2")
    group = distil(students=students, settings={"cache.mode": "off"})
    assert len(group.runs) == 3
    # 66 images, 16 a step without the rest, 2 epochs.
    assert sum(n for n in questions if n == 16) == 2 * 64
    questions.clear()
    distil("apart", students=students, settings={"cache.mode": "off"}, side_by_side=False)
    assert sum(n for n in questions if n == 16) == 3 * 2 * 64


def test_one_teacher_and_one_data_set_are_opened_and_judged_once(
    distil: Distil, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            opened.append(name)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr("dropkd.engine.setup.open_data", note("data", dropkd.data.open_data))
    monkeypatch.setattr("dropkd.engine.teachers.open_teacher", note("teacher", open_teacher))
    listener = Listener()
    distil(seeds=(0, 1), settings={"teacher_check": "warn"}, observer=listener)
    # The two networks are fed the same size.
    assert opened == ["data", "teacher"]
    assert len([line for line in listener.messages if line.startswith("The teacher gets")]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_group_goes_on_to_the_same_bits_and_repeats_nothing(
    distil: Distil, tmp_path: Path, number: int
) -> None:
    whole = distil("whole", seeds=(0, 1))

    class StopInSecond(StopAt):
        """Stops in the second pair of runs, in the middle of an epoch."""

        seen = 0

        def on_run(self, *, name: str, number: int, total: int) -> None:
            self.is_second = name == "cct_2_3x2-seed1"

        def on_step(self, **event: Any) -> None:
            if self.is_second:
                super().on_step(**event)

    with pytest.raises(Interrupted) as stop:
        distil("stopped", seeds=(0, 1), observer=StopInSecond(2, number))
    group = RunGroup.open(tmp_path / "stopped")
    assert stop.value.folder == group.folder
    assert "2 of 4 runs finished" in str(stop.value)
    assert sorted(group.runs) == ["cct_2_3x2-seed0", "cifar_resnet8-seed0"]
    done = {name: (run.folder / "last.ckpt").stat().st_mtime_ns for name, run in group.runs.items()}
    stopped = dropkd.Run.open(group.folder / "cct_2_3x2-seed1").metrics
    assert stopped["status"] == "interrupted"
    resumed = resume_many(group.folder) if number == signal.SIGTERM else distil("stopped", seeds=(0, 1))
    assert resumed.is_finished
    for name, run in resumed.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)
        if name in done:
            assert (run.folder / "last.ckpt").stat().st_mtime_ns == done[name]


def test_runs_that_were_killed_at_different_places_meet_again(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distil("whole", epochs=3)

    class Killed(BaseException):
        pass

    save = Training.save

    def kill_at(self: Training, journal: Journal) -> None:
        save(self, journal)
        if self.position.epoch == 2 and "cifar" in self.folder.name:
            raise Killed

    monkeypatch.setattr(Training, "save", kill_at)
    with pytest.raises(Killed):
        distil("killed", epochs=3)
    monkeypatch.setattr(Training, "save", save)
    places = {
        name: checkpoint_of(tmp_path / "killed" / name)["position"]["epoch"]
        for name in ("cifar_resnet8-seed0", "cct_2_3x2-seed0")
    }
    assert places == {"cifar_resnet8-seed0": 2, "cct_2_3x2-seed0": 1}
    resumed = distil("killed", epochs=3)
    for name, run in resumed.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(distil: Distil, tmp_path: Path) -> None:
    listener = Listener()
    variants = {"usual": {}, "wild": {"training.lr": 1e30}}
    group = distil(students=("cifar_resnet8",), seeds=(0, 1), variants=variants, observer=listener)
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
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training._step

    def fail(self: Training, batch: Any) -> Any:
        if "cifar" in self.folder.name:
            raise ZeroDivisionError("by nothing")
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_step", fail)
        group = distil()
    assert group.failures == {"cifar_resnet8-seed0": "ZeroDivisionError: by nothing"}
    assert "Traceback" in (group.folder / "failures" / "cifar_resnet8-seed0.txt").read_text()
    again = resume_many(group.folder)
    assert (again.failures, again.is_finished) == ({}, True)


def test_memory_that_does_not_hold_them_all_after_all_trains_one_alone(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, step, failed = distil("whole"), Training._step, []

    def run_out(self: Training, batch: Any) -> Any:
        if "cifar" in self.folder.name and self.position.step == 2 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("out of memory")
        return step(self, batch)

    monkeypatch.setattr(Training, "_step", run_out)
    listener = Listener()
    group = distil("full", observer=listener)
    assert group.failures == {}
    assert any("goes on alone later" in line for line in listener.warnings)
    for name, run in group.runs.items():
        assert_alike(run.folder, whole.runs[name].folder)


def test_more_seeds_join_a_group_and_see_the_same_views(distil: Distil) -> None:
    first = distil(students=("cifar_resnet8",), seeds=(4,), epochs=1)
    more = distil(students=("cifar_resnet8",), seeds=(9,), epochs=1)
    assert first.folder == more.folder
    assert sorted(more.runs) == ["cifar_resnet8-seed4", "cifar_resnet8-seed9"]
    assert {run.config.view_seed for run in more.runs.values()} == {4}


def test_other_settings_for_a_run_that_is_there_are_refused_by_name(distil: Distil) -> None:
    distil(students=("cifar_resnet8",), epochs=1)
    with pytest.raises(RunError, match=r"training\.epochs is 1 there and 2 here.*--overwrite"):
        distil(students=("cifar_resnet8",), epochs=2)
    assert distil(students=("cifar_resnet8",), epochs=2, overwrite=True).runs["cifar_resnet8-seed0"].config.training


def test_a_mistake_in_one_configuration_stops_all_before_anything_is_written(distil: Distil, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean 'cifar_resnet8'"):
        distil(students=("cct_2_3x2", "cifar_resnet9"))
    assert not (tmp_path / "group").exists()
    with pytest.raises(ConfigError, match="different names"):
        run_many([], output=tmp_path / "group")


def test_what_stands_in_the_groups_place_is_left_as_it_is(distil: Distil, tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty and no group of runs"):
        distil()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    with pytest.raises(RunError, match="folder of a single run"):
        distil("run")
    with pytest.raises(RunError, match="no group of runs"):
        resume_many(tmp_path)


def test_a_damaged_list_of_runs_is_told(distil: Distil, tmp_path: Path) -> None:
    group = distil(students=("cifar_resnet8",), epochs=1)
    for text in ("group: 1\nruns: [", "group: 1\n", "group: 1\nruns: {a: {label: a, config: {}}}", "group: 7\n"):
        (group.folder / "group.yaml").write_text(text)
        with pytest.raises(RunError, match=r"group\.yaml"):
            RunGroup.open(group.folder)


def test_two_processes_do_not_train_one_group(distil: Distil) -> None:
    group = distil(students=("cifar_resnet8",), epochs=1)
    with group.on_disk().working(), pytest.raises(RunError, match="Another process is training the group"):
        distil(students=("cifar_resnet8",), seeds=(0, 1), epochs=1)


def test_images_that_changed_since_the_first_run_are_told(distil: Distil, clothes: Path, tmp_path: Path) -> None:
    group = distil(students=("cifar_resnet8",), epochs=1)
    file = group.folder / "cifar_resnet8-seed0" / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps({**metrics, "train_sha256": "other"}))
    more = distil(students=("cifar_resnet8",), seeds=(0, 1), epochs=1)
    assert "no longer those of 'cifar_resnet8-seed0'" in more.failures["cifar_resnet8-seed1"]


def test_a_teacher_that_is_a_function_is_asked_side_by_side_and_never_kept(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "caches"))
    head = nn.Linear(3, 3)
    group = distill_many(
        clothes, teacher=lambda images: head(images.mean((2, 3))), students=["cifar_resnet8", "cifar_resnet14"],
        seeds=(0, 1), method="kd", epochs=1, batch_size=16, output=tmp_path / "group",
        settings={"teacher_check": "off"},
    )  # fmt: skip
    assert len(group.runs) == 4
    assert all(run.metrics["teacher_cache"] is None for run in group.runs.values())


def test_each_run_of_a_group_may_have_its_baseline(distil: Distil) -> None:
    group = distil(epochs=1, settings={"baseline": True})
    for run in group.runs.values():
        assert dropkd.Run.open(run.folder / "baseline").is_finished
        assert run.metrics["baseline"] == "baseline"


def test_the_list_of_runs_outlives_a_change_of_place(distil: Distil, tmp_path: Path) -> None:
    group = distil(students=("cifar_resnet8",), epochs=1)
    moved = group.folder.rename(tmp_path / "elsewhere")
    assert GroupFolder.open(moved).members == (
        Member("cifar_resnet8-seed0", "cifar_resnet8", _config_of(moved), shares_cache=False),
    )
    assert resume_many(moved).is_finished


def _config_of(folder: Path) -> Config:
    return GroupFolder.open(folder).members[0].config
