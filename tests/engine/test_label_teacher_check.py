"""A teacher of several labels, judged before the first step by its mAP against a random order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dropkd.engine.evaluation import Answers
from dropkd.engine.label_teacher_check import find_odd_probabilities, judge_label_teacher

NAMES = ("1", "10", "2", "3")


def draw(noise: float, images: int = 400, classes: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(3)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.5])[:classes]
    target = (torch.rand(images, classes, generator=source) < shares).float()
    return 4 * target - 2 + noise * torch.randn(images, classes, generator=source), target


def test_a_good_teacher_passes() -> None:
    found, problem = judge_label_teacher(Answers(*draw(1.0)), NAMES, NAMES)
    assert found > 0.9
    assert problem is None


def test_a_teacher_without_knowledge_is_found_out_and_the_chance_level_named() -> None:
    _, target = draw(1.0)
    guesses = torch.randn(target.shape, generator=torch.Generator().manual_seed(9))
    found, problem = judge_label_teacher(Answers(guesses, target), NAMES, None)
    assert found < 0.35
    assert problem is not None
    assert "a random order has 2" in problem
    assert "does not know this task" in problem


def test_a_teacher_of_another_order_is_found_out_by_its_answers_and_by_its_names() -> None:
    logits, target = draw(1.0)
    as_numbers = logits[:, [0, 2, 3, 1]]
    found, problem = judge_label_teacher(Answers(as_numbers, target), NAMES, None)
    assert found < 0.6
    assert problem is not None
    assert "another order" in problem
    assert "its '10' is your '2'" in problem
    _, by_name = judge_label_teacher(Answers(logits, target), NAMES, ("1", "2", "3", "10"))
    assert by_name is not None
    assert "its '2' is your '10'" in by_name


def test_probabilities_that_are_worse_than_none_are_remarked_upon() -> None:
    logits, target = draw(0.5)
    assert find_odd_probabilities(Answers(logits, target)) is None
    # The same order of the images, but all of them are sure to have each label.
    remark = find_odd_probabilities(Answers(logits + 30, target))
    assert remark is not None
    assert "trained for one class an image" in remark


@pytest.mark.parametrize("classes", [2, 4])
def test_a_label_that_no_image_has_does_not_count(classes: int) -> None:
    logits, target = draw(1.0, classes=classes)
    target[:, 0] = 0
    found, problem = judge_label_teacher(Answers(logits, target), NAMES[:classes], None)
    assert found > 0.9
    assert problem is None
