"""The teacher's accuracy before the first step, and what is wrong when it is low."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dropkd.engine.evaluation import Answers
from dropkd.engine.teacher_check import _rename, judge_teacher, require_teacher
from dropkd.errors import TrainingError

NAMES = ("1", "10", "2", "3", "4")


def answers(prediction: Tensor, target: Tensor, classes: int) -> Answers:
    return Answers(torch.nn.functional.one_hot(prediction, classes).float(), target)


def targets(images: int = 500, classes: int = 5) -> Tensor:
    return torch.randint(0, classes, (images,), generator=torch.Generator().manual_seed(1))


def spoil(prediction: Tensor, share: float, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    wrong = torch.rand(len(prediction), generator=generator) < share
    return torch.where(wrong, torch.randint(0, classes, prediction.shape, generator=generator), prediction)


def test_a_good_teacher_passes() -> None:
    target = targets()
    accuracy, problem = judge_teacher(answers(spoil(target, 0.3), target, 5), NAMES, None)
    assert accuracy == pytest.approx(0.76, abs=0.05)
    assert problem is None


def test_a_teacher_whose_classes_were_sorted_as_numbers_is_found_out() -> None:
    target = targets()
    # The teacher's order is 1, 2, 3, 4, 10; the data's is 1, 10, 2, 3, 4.
    as_numbers = torch.tensor([0, 4, 1, 2, 3])
    accuracy, problem = judge_teacher(answers(spoil(as_numbers[target], 0.2), target, 5), NAMES, None)
    assert accuracy < 0.3
    assert problem is not None
    assert "another order" in problem
    assert "its '10' is your '2'" in problem


def test_a_teacher_whose_file_lists_the_classes_in_another_order_is_refused_by_name() -> None:
    target = targets()
    _, problem = judge_teacher(answers(target, target, 5), NAMES, ("1", "2", "3", "4", "10"))
    assert problem is not None
    assert "lists the same classes in another order" in problem


def test_a_teacher_that_guesses_is_near_chance() -> None:
    target = targets()
    _, problem = judge_teacher(answers(spoil(target, 1.0), target, 5), NAMES, None)
    assert problem is not None
    assert "It does not know this task" in problem


def test_naming_the_commonest_class_is_chance_however_accurate() -> None:
    target = torch.tensor([0] * 80 + [1] * 20)
    accuracy, problem = judge_teacher(answers(torch.zeros(100, dtype=torch.int64), target, 2), ("a", "b"), None)
    assert accuracy == pytest.approx(0.8)
    assert problem is not None


def test_two_classes_swapped_are_another_order() -> None:
    target = targets(classes=2)
    _, problem = judge_teacher(answers(spoil(1 - target, 0.1, 2), target, 2), ("cat", "dog"), None)
    assert problem is not None
    assert "its 'cat' is your 'dog'" in problem


def test_stop_raises_and_warn_returns_the_text() -> None:
    with pytest.raises(TrainingError, match="--teacher-check warn"):
        require_teacher("Bad.", "stop")
    assert require_teacher("Bad.", "warn") == "Bad."


def test_answers_that_renaming_would_make_right_only_since_each_class_has_one_image_are_no_other_order() -> None:
    # Of a thousand classes with an image each, three in five are found; what is taken for another differs each time.
    target = torch.arange(1000)
    prediction = torch.where(target % 5 < 3, target, (target + 500) % 1000)
    accuracy, problem = judge_teacher(answers(prediction, target, 1000), [str(k) for k in range(1000)], None)
    assert accuracy == pytest.approx(0.6)
    assert problem is None


def test_what_answers_stand_for_is_what_a_table_of_all_pairs_of_classes_says() -> None:
    generator = torch.Generator().manual_seed(3)
    prediction, target = (torch.randint(0, 30, (2, 400), generator=generator) ** 2 // 30).unbind()
    as_label, right = _rename(prediction, target, 30)
    confusion = torch.bincount(target * 30 + prediction, minlength=900).reshape(30, 30)
    assert sorted(as_label) == confusion.sum(0).nonzero().flatten().tolist()
    assert right == int(confusion.amax(0).sum())
    assert all(confusion[label, answered] == confusion[:, answered].max() for answered, label in as_label.items())
