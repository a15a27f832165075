"""A teacher's file of bare weights, which does not say what size of images it was fed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dropkd import api
from dropkd.config import Config
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_message(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture
def bare(configure: Callable[..., Config], tmp_path: Path) -> Path:
    """Weights of a network that was trained at the images' own 28 pixels, far from its published 176."""
    run = api.run(
        configure(method="plain", output="teacher", student__name="resnet10t", student__pretrained=False,
                  training__epochs=6, training__lr=0.003)
    )  # fmt: skip
    torch.save(run.student().state_dict(), tmp_path / "bare.pth")
    return tmp_path / "bare.pth"


def test_it_is_fed_the_size_at_which_it_is_right(configure: Callable[..., Config], bare: Path) -> None:
    listener = Listener()
    job = prepare_job(configure(method="kd", teacher__source=f"resnet10t:{bare}"), listener)
    assert job.distiller.teacher is not None
    assert job.distiller.teacher.spec.image_size == (28, 28)
    assert any("does not say its input size" in text and "fed 28 x 28" in text for text in listener.heard)


def test_the_users_word_on_its_size_counts(configure: Callable[..., Config], bare: Path) -> None:
    listener = Listener()
    config = configure(method="kd", teacher__source=f"resnet10t:{bare}", teacher__image_size=56)
    job = prepare_job(config, listener)
    assert job.distiller.teacher is not None
    assert job.distiller.teacher.spec.image_size == (56, 56)
    assert not any("does not say" in text for text in listener.heard)
