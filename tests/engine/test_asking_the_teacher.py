"""When a run asks its teacher about the validation images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropkd import api
from dropkd.config import Config
from dropkd.engine import teachers
from dropkd.engine.evaluation import Answers, answer_split
from dropkd.engine.journal import read_journal
from dropkd.engine.observer import Observer


class Listener(Observer):
    """Notes what is said, and how many images the teacher was asked about before the first step."""

    def __init__(self, asked: list[int]) -> None:
        self.asked, self.before, self.heard = asked, -1, ""

    def on_start(self, **_: Any) -> None:
        self.before = sum(self.asked)

    def on_message(self, text: str) -> None:
        self.heard += text + "\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each question of the check was about."""
    counts: list[int] = []

    def answer(network: Any, loader: Any, device: Any, *, progress: Any = None) -> Answers:
        counts.append(len(loader.split))
        return answer_split(network, loader, device, progress=progress)

    monkeypatch.setattr(teachers, "answer_split", answer)
    return counts


def read_validations(folder: Path) -> list[dict[str, Any]]:
    return [record["val"] for record in read_journal(folder / "metrics.jsonl") if record["event"] == "epoch"]


def test_of_a_large_validation_split_a_part_is_asked_about_at_the_start_and_the_rest_when_it_is_needed(
    configure: Callable[..., Config], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(method="kd", teacher_check="warn", data__validation_fraction=0.3)
    whole = Listener(asked)
    expected = read_validations(api.run(config, observer=whole).folder)
    val = asked[0]
    assert whole.before == sum(asked)

    asked.clear()
    monkeypatch.setattr(teachers, "_CHECK_IMAGES", 4)
    part = Listener(asked)
    found = read_validations(api.run(config, observer=part, overwrite=True).folder)
    assert asked == [4, val]
    assert part.before == 4
    assert "4 validation images" in part.heard
    assert found == expected


def test_without_a_check_the_teacher_is_asked_nothing_before_the_first_step(
    configure: Callable[..., Config], asked: list[int]
) -> None:
    listener = Listener(asked)
    api.run(configure(method="kd", teacher_check="off"), observer=listener)
    assert listener.before == 0
    # Once, however many epochs.
    assert len(asked) == 1
