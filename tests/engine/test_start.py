"""The start of a run that finds its teacher's answers on disk asks the teacher about next to nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dropkd import Run, api
from dropkd.config import Config
from dropkd.engine.cache_parts import try_method
from dropkd.models.tapped import TappedNetwork
from dropkd.teacher_cache import list_caches
from dropkd.teacher_cache.keeping import forget_orphans

Configure = Callable[..., Config]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many pictures the transformer, who is the teacher, is shown at a time."""
    pictures: list[int] = []
    forward = TappedNetwork.forward

    def watch(self: TappedNetwork, images: torch.Tensor, **keys: Any) -> Any:
        if "vit" in self.spec.name:
            pictures.append(len(images))
        return forward(self, images, **keys)

    monkeypatch.setattr(TappedNetwork, "forward", watch)
    return pictures


def losses_of(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]


@pytest.fixture
def cached(configure: Configure, tmp_path: Path) -> Configure:
    def make(output: str, method: str = "dropkd", **changes: Any) -> Config:
        keys = {"cache__mode": "on", "cache__folder": str(tmp_path / "caches"), "teacher_check": "warn"}
        return configure(method, output, **keys | changes)

    return make


def test_a_second_run_asks_about_the_compared_entries_alone(cached: Configure, asked: list[int]) -> None:
    first = api.run(cached("first"))
    assert sum(asked) > 300
    asked.clear()
    second = api.run(cached("second"))
    assert asked == [4]
    assert losses_of(second) == losses_of(first)
    assert second.metrics["teacher"] == first.metrics["teacher"]
    assert second.metrics["splits"] == first.metrics["splits"]
    third = api.run(cached("third", cache__compared=2, seed=0))
    assert asked == [4, 2]
    assert losses_of(third) == losses_of(first)


def test_answers_to_the_images_that_judge_the_teacher_are_those_of_a_run_without_a_cache(
    cached: Configure, asked: list[int]
) -> None:
    live = api.run(cached("live", cache__mode="off"))
    api.run(cached("first"))
    asked.clear()
    kept = api.run(cached("second"))
    assert sum(asked) == 4
    for split, scores in live.metrics["teacher"]["splits"].items():
        assert kept.metrics["teacher"]["splits"][split] == scores


@pytest.mark.parametrize(
    "change",
    [{"training__batch_size": 8}, {"data__split_seed": 3}, {"cache__mode": "off"}, {"training__precision": "bf16"}],
)
def test_whatever_changes_an_answer_to_a_judging_image_is_asked_anew(
    cached: Configure, asked: list[int], tmp_path: Path, change: dict[str, Any]
) -> None:
    api.run(cached("first", "kd"))
    before = len(list_caches(tmp_path / "caches" / "judged"))
    asked.clear()
    api.run(cached("second", "kd", **change))
    assert sum(asked) > 50
    assert (len(list_caches(tmp_path / "caches" / "judged")) > before) == (change != {"cache__mode": "off"})


def test_damaged_answers_to_judging_images_are_asked_for_anew(
    cached: Configure, asked: list[int], tmp_path: Path
) -> None:
    first = api.run(cached("first", "kd"))
    for file in (tmp_path / "caches" / "judged").rglob("*.arrow"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x40
        file.write_bytes(bytes(content))
    asked.clear()
    second = api.run(cached("second", "kd"))
    assert sum(asked) > 50
    assert second.metrics["teacher"] == first.metrics["teacher"]


def test_a_method_is_tried_once_and_again_when_what_it_could_read_differs(
    cached: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def note(*given: Any) -> Any:
        tried.append(1)
        return try_method(*given)

    monkeypatch.setattr("dropkd.engine.cache_needs.try_method", note)
    for method, options, count in (
        ("dropkd", {}, 1),
        ("dropkd", {}, 1),
        ("dropkd", {"method__feature_rate_teacher": 0.3}, 2),
        ("kd", {}, 3),
        ("kd", {"cache__top_logits": 2}, 4),
        ("kd", {"student__name": "cifar_resnet8x4"}, 5),
        ("kd", {}, 5),
    ):
        api.run(cached(f"run{len(tried)}-{count}-{method}-{len(options)}", method, **options), overwrite=True)
        assert len(tried) == count, (method, options)


def test_what_was_kept_of_a_trial_and_can_not_be_read_is_tried_again(cached: Configure, tmp_path: Path) -> None:
    first = api.run(cached("first", "kd"))
    (trial,) = (tmp_path / "caches" / "trials").iterdir()
    whole = trial.read_text()
    trial.write_text('{"parts": [{"na')
    second = api.run(cached("second", "kd"))
    assert losses_of(second) == losses_of(first)
    assert json.loads(trial.read_text())["parts"] == json.loads(whole)["parts"]
    assert json.loads(whole)["parts"] == [{"name": "logits", "shape": [3], "number": "float16"}]


def test_nothing_of_a_run_without_a_cache_is_kept(configure: Configure, tmp_path: Path) -> None:
    changes = {"cache__folder": str(tmp_path / "caches"), "teacher_check": "warn"}
    assert api.run(configure("kd", "auto", **changes)).is_finished
    assert api.run(configure("kd", "off", cache__mode="off", **changes)).is_finished
    assert not (tmp_path / "caches").exists()


def test_with_a_teachers_last_cache_go_its_answers_to_judging_images(cached: Configure, tmp_path: Path) -> None:
    root = tmp_path / "caches"
    api.run(cached("first", "kd"))
    api.run(cached("second", "rkd"))
    first, second = list_caches(root)
    assert list_caches(root / "judged")
    first.remove()
    forget_orphans(root)
    assert list_caches(root / "judged")
    second.remove()
    forget_orphans(root)
    assert list(root.iterdir()) == []


def test_a_student_of_another_method_is_judged_by_the_same_answers(cached: Configure, asked: list[int]) -> None:
    api.run(cached("first", "dropkd"))
    asked.clear()
    # What KD reads is not known yet; all else is there. The trial shows 8 pictures, twice where that is fast.
    api.run(cached("second", "kd"))
    assert asked == [8, 8, 4]
