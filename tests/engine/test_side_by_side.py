"""Runs that take turns at the same batches: each is bit for bit the run that it is alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stopped_runs import assert_alike
from torch import Tensor

import dropkd
from dropkd import api
from dropkd.config import load_config, update_config
from dropkd.group import RunGroup
from dropkd.models.tapped import TappedNetwork

Distil = Callable[..., RunGroup]
# One with dropout and stochastic depth, so that it draws from the global generators.
STUDENTS = ("cifar_resnet8", "cct_2_3x2")


def alone(group: RunGroup, name: str, output: Path) -> dropkd.Run:
    """Train one run of a group by itself."""
    config = load_config(group.folder / name / "config.yaml")
    return api.run(update_config(config, {"output": output}))


@pytest.mark.parametrize(
    ("method", "epochs", "settings"),
    [
        # Masks from the global generator, a transformer with dropout, mixing of batches, a running average.
        ("dropkd", 2, {"training.mixup": 0.4, "training.cutmix": 1.0, "training.ema_decay": 0.9}),
        ("kd", 1, {"training.precision": "bf16", "training.accumulate": 3, "training.gradient_clip": 1.0}),
        # Two views of each image, and two passes of the student.
        ("mld", 1, {"data.sampling": "balanced"}),
        ("plain", 1, {}),
    ],
)
def test_runs_side_by_side_are_bit_for_bit_those_that_they_are_alone(
    distil_many: Distil, tmp_path: Path, method: str, epochs: int, settings: dict[str, Any]
) -> None:
    group = distil_many(students=STUDENTS, method=method, epochs=epochs, settings=settings)
    assert sorted(group.runs) == ["cct_2_3x2-seed0", "cifar_resnet8-seed0"]
    for name, run in group.runs.items():
        assert_alike(run.folder, alone(group, name, tmp_path / name).folder)


def test_runs_from_one_cache_are_bit_for_bit_those_that_they_are_alone(distil_many: Distil, tmp_path: Path) -> None:
    group = distil_many(students=STUDENTS, seeds=(3, 5), epochs=1, settings={"cache.mode": "on"})
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


def test_students_that_see_the_same_batches_ask_the_teacher_once(distil_many: Distil, questions: list[int]) -> None:
    students = ("cifar_resnet8", "cifar_resnet14", "cifar_resnet20")
    group = distil_many(students=students, epochs=1, settings={"cache.mode": "off"})
    assert len(group.runs) == 3
    # 66 images, 16 a step without the rest.
    assert sum(n for n in questions if n == 16) == 64
    questions.clear()
    distil_many("apart", students=students, epochs=1, settings={"cache.mode": "off"}, side_by_side=False)
    assert sum(n for n in questions if n == 16) == 3 * 64
