"""What answers to a split are worth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy

from dropkd.engine import evaluation
from dropkd.engine.evaluation import Answers, score_answers


@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 10**6))
def test_accuracies_are_those_of_torchmetrics(classes: int, images: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator)
    target = torch.randint(classes, (images,), generator=generator)
    scores = score_answers(Answers(logits, target))
    assert scores["accuracy"] == pytest.approx(float(multiclass_accuracy(logits, target, classes, average="micro")))
    if classes > 5:
        expected = float(multiclass_accuracy(logits, target, classes, average="micro", top_k=5))
        assert scores["top5_accuracy"] == pytest.approx(expected)
    else:
        assert scores["top5_accuracy"] is None


def test_the_loss_is_the_same_however_few_images_are_worked_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7
    whole = score_answers(Answers(logits, target))["loss"]
    assert whole == pytest.approx(float(F.cross_entropy(logits, target)), rel=1e-6)
    monkeypatch.setattr(evaluation, "_AT_ONCE", 15)
    assert score_answers(Answers(logits, target))["loss"] == whole
