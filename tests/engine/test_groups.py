"""A group of runs: what opens once, what joins it, and what is told before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listening import Listener
from torch import nn

import dropkd
from dropkd.config import Config
from dropkd.engine.group_folder import GroupFolder, Member
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.group import RunGroup
from dropkd.many import distill_many, resume_many, run_many
from dropkd.models import open_teacher

Distil = Callable[..., RunGroup]


def test_one_teacher_and_one_data_set_are_opened_and_judged_once(
    distil_many: Distil, monkeypatch: pytest.MonkeyPatch
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
    distil_many(seeds=(0, 1), epochs=1, settings={"teacher_check": "warn"}, observer=listener)
    # The two networks are fed the same size.
    assert opened == ["data", "teacher"]
    assert len([line for line in listener.messages if line.startswith("The teacher gets")]) == 1


def test_more_seeds_join_a_group_and_see_the_same_views(distil_many: Distil) -> None:
    first = distil_many(students=("cifar_resnet8",), seeds=(4,), epochs=1)
    more = distil_many(students=("cifar_resnet8",), seeds=(9,), epochs=1)
    assert first.folder == more.folder
    assert sorted(more.runs) == ["cifar_resnet8-seed4", "cifar_resnet8-seed9"]
    assert {run.config.view_seed for run in more.runs.values()} == {4}


def test_other_settings_for_a_run_that_is_there_are_refused_by_name(distil_many: Distil) -> None:
    distil_many(students=("cifar_resnet8",), epochs=1)
    with pytest.raises(RunError, match=r"training\.epochs is 1 there and 2 here.*--overwrite"):
        distil_many(students=("cifar_resnet8",), epochs=2)
    assert (
        distil_many(students=("cifar_resnet8",), epochs=2, overwrite=True).runs["cifar_resnet8-seed0"].config.training
    )


def test_a_mistake_in_one_configuration_stops_all_before_anything_is_written(
    distil_many: Distil, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="Did you mean 'cifar_resnet8'"):
        distil_many(students=("cct_2_3x2", "cifar_resnet9"))
    assert not (tmp_path / "group").exists()
    with pytest.raises(ConfigError, match="different names"):
        run_many([], output=tmp_path / "group")


def test_what_stands_in_the_groups_place_is_left_as_it_is(distil_many: Distil, tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty and no group of runs"):
        distil_many()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    with pytest.raises(RunError, match="folder of a single run"):
        distil_many("run")
    with pytest.raises(RunError, match="no group of runs"):
        resume_many(tmp_path)


def test_a_damaged_list_of_runs_is_told(distil_many: Distil, tmp_path: Path) -> None:
    group = distil_many(students=("cifar_resnet8",), epochs=1)
    for text in ("group: 1\nruns: [", "group: 1\n", "group: 1\nruns: {a: {label: a, config: {}}}", "group: 7\n"):
        (group.folder / "group.yaml").write_text(text)
        with pytest.raises(RunError, match=r"group\.yaml"):
            RunGroup.open(group.folder)


def test_two_processes_do_not_train_one_group(distil_many: Distil) -> None:
    group = distil_many(students=("cifar_resnet8",), epochs=1)
    with group.on_disk().working(), pytest.raises(RunError, match="Another process is training the group"):
        distil_many(students=("cifar_resnet8",), seeds=(0, 1), epochs=1)


def test_images_that_changed_since_the_first_run_are_told(distil_many: Distil, clothes: Path, tmp_path: Path) -> None:
    group = distil_many(students=("cifar_resnet8",), epochs=1)
    file = group.folder / "cifar_resnet8-seed0" / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps({**metrics, "train_sha256": "other"}))
    more = distil_many(students=("cifar_resnet8",), seeds=(0, 1), epochs=1)
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


def test_each_run_of_a_group_may_have_its_baseline(distil_many: Distil) -> None:
    group = distil_many(epochs=1, settings={"baseline": True})
    for run in group.runs.values():
        assert dropkd.Run.open(run.folder / "baseline").is_finished
        assert run.metrics["baseline"] == "baseline"


def test_the_list_of_runs_outlives_a_change_of_place(distil_many: Distil, tmp_path: Path) -> None:
    group = distil_many(students=("cifar_resnet8",), epochs=1)
    moved = group.folder.rename(tmp_path / "elsewhere")
    assert GroupFolder.open(moved).members == (
        Member("cifar_resnet8-seed0", "cifar_resnet8", _config_of(moved), shares_cache=False),
    )
    assert resume_many(moved).is_finished


def _config_of(folder: Path) -> Config:
    return GroupFolder.open(folder).members[0].config
