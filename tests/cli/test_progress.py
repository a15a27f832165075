from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from dropkd.cli import progress as progress_module
from dropkd.cli.progress import Progress, describe_epoch

EPOCH: dict[str, Any] = {
    "epoch": 2,
    "seconds": 75.0,
    "train": {
        "loss": 1.25,
        "accuracy": 0.5,
        "terms": {"cross_entropy": {"share": 0.75}, "logit": {"share": 0.25}},
        "agreement": 0.6,
    },
    "val": {"loss": 1.5, "accuracy": 0.4567, "agreement": 0.625},
    "best": True,
}


def watch(*, terminal: bool) -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(Console(file=stream, force_terminal=terminal, width=150, color_system=None)), stream


def test_an_epoch_is_a_line_with_accuracies_agreement_and_shares() -> None:
    assert describe_epoch(EPOCH, "kd", 10).plain.split("  ") == [
        "kd",
        "epoch",
        "3/10",
        "loss 1.250",
        "train 50.00 %",
        "val 45.67 %*",
        "agrees with teacher 62.50 %",
        "loss is 75 % cross_entropy, 25 % logit",
        "1 min 15 s",
    ]


def test_an_epoch_of_plain_training_has_neither_agreement_nor_shares() -> None:
    plain = {
        **EPOCH,
        "train": {"loss": 1.0, "accuracy": 0.5, "terms": {"cross_entropy": {"share": 1.0}}},
        "val": {"accuracy": 0.5, "agreement": None},
        "best": False,
    }
    text = describe_epoch(plain, "plain", 3).plain
    assert "agree" not in text
    assert "loss is" not in text
    assert "*" not in text


def test_without_a_terminal_there_are_plain_lines() -> None:
    shown, stream = watch(terminal=False)
    with shown:
        shown.on_message("600 images [cut] from train.")
        shown.on_warning("one term is 0.")
        shown.on_phase("Checking the teacher", 5, 10)
        shown.on_start(title="kd", epochs=10, steps_per_epoch=5, first_step=0)
        shown.on_step(epoch=0, step=1, total_steps=50, loss=1.0, images_per_second=100.0)
        shown.on_epoch(EPOCH)
        shown.on_end({})
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["600 images [cut] from train.", "warning: one term is 0."]
    assert len(lines) == 3
    assert "\x1b" not in stream.getvalue()


def test_without_a_terminal_a_long_epoch_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 40.0, 45.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    shown, stream = watch(terminal=False)
    with shown:
        shown.on_start(title="kd", epochs=2, steps_per_epoch=100, first_step=20)
        for step in (30, 60, 70):
            shown.on_step(epoch=0, step=step, total_steps=200, loss=1.5, images_per_second=1234.5)
    # 40 steps in 40 seconds, 140 to go.
    assert stream.getvalue() == "kd  step 60/200  epoch 1/2  loss 1.500  1,234 images/s  2 min 20 s left\n"


def test_on_a_terminal_there_is_a_bar_with_the_time_left() -> None:
    shown, stream = watch(terminal=True)
    with shown:
        shown.on_start(title="kd", epochs=2, steps_per_epoch=100, first_step=0)
        shown.on_step(epoch=0, step=60, total_steps=200, loss=1.5, images_per_second=100.0)
        shown._bars.refresh()
        assert "60/200" in stream.getvalue()
        assert "left" in stream.getvalue()
        shown.on_end({})
        assert shown._bars.task_ids == []


def test_a_phase_that_is_done_takes_its_bar_away() -> None:
    shown, _ = watch(terminal=True)
    with shown:
        shown.on_phase("Evaluating val", 5, 10)
        assert len(shown._bars.task_ids) == 1
        shown.on_phase("Evaluating val", 10, 10)
        assert shown._bars.task_ids == []
