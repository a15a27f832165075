"""What flows back, and what is done with the answers: each clause is broken once, and found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs, Pair
from dropkd.methods.method import Method
from dropkd.testing import check_method

from .wrong_methods import Reader, complaints, make_wrong


def test_a_method_that_reads_everything_and_remembers_passes() -> None:
    check_method(Reader)


@pytest.mark.parametrize(
    ("field", "look"),
    [
        ("logits", lambda self, t, b: t.logits.mean(dim=1, keepdim=True) + t.embedding.detach()),
        ("maps", lambda self, t, b: t.maps[-1].mean() + t.embedding.detach()),
        ("preactivations", lambda self, t, b: t.preactivations[0].mean() + t.embedding.detach()),
        ("norms", lambda self, t, b: t.embedding.detach() + self.pair.teacher_norms[-1][0]),
    ],
)
def test_a_gradient_into_the_teacher_is_found_by_its_field(field: str, look: Any) -> None:
    remember = {"remember": lambda self, student, goal, batch: None}
    if field == "norms":
        look_at_norms = look
        look = lambda self, t, b: look_at_norms(self, t, b) if self.pair.teacher_norms else t.embedding.detach()  # noqa: E731
    assert f"gradients reach the teacher's {field}: detach them" in complaints(make_wrong(look_at=look, **remember))


def _with_late_projector(condition: Any) -> type[Method]:
    def build(self: Any, pair: Pair) -> None:
        Reader.__init__(self, pair)
        self.late = nn.Linear(pair.teacher.embedding, pair.teacher.embedding)

    def restrict_terms(self: Any, names: Collection[str]) -> None:
        Reader.restrict_terms(self, names)
        if hasattr(self, "late"):
            self.late.requires_grad_("match" in self.active)

    def look(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
        goal = teacher.embedding.detach()
        return self.late(goal) if condition(batch) else goal

    changes = {"__init__": build, "restrict_terms": restrict_terms, "look_at": look}
    return make_wrong(**changes, remember=lambda self, student, goal, batch: None)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (lambda batch: batch.epoch >= 20, "gets none in epoch 0 and 1, for which data-parallel training waits"),
        (lambda batch: batch.epoch == 0, "gets none in epoch 1 and 30, for which data-parallel training waits"),
    ],
)
def test_a_parameter_that_only_some_epochs_train_is_found(condition: Any, words: str) -> None:
    text = complaints(_with_late_projector(condition))
    assert (
        f"'late.weight' asks for a gradient but {words}: freeze it in restrict_terms, or use it in every step" in text
    )


def test_parameters_that_are_frozen_on_the_way_are_found() -> None:
    def end_epoch(self: Any, epoch: int) -> Sequence[LabelChange]:
        self.project.bias.requires_grad_(epoch < 10)
        return ()

    words = "training changes whether {project.bias} ask for gradients: only restrict_terms, before it, may do so"
    assert words in complaints(make_wrong(end_epoch=end_epoch))


def test_gradients_that_are_not_finite_are_found() -> None:
    def look(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
        return teacher.embedding.detach() + (self.project.weight.sum() * 0).abs().sqrt()

    words = "the gradient of 'project.weight' is not finite"
    assert words in complaints(make_wrong(look_at=look, remember=lambda self, student, goal, batch: None))


def test_labels_that_are_changed_in_place_are_found() -> None:
    def look(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
        batch.target.add_(1).remainder_(self.pair.num_classes)
        return teacher.embedding.detach()

    assert "it changes the batch's labels in place" in complaints(make_wrong(look_at=look))


def test_a_students_answer_that_is_changed_in_place_is_found() -> None:
    def remember(self: Any, student: Outputs, goal: Tensor, batch: Batch) -> None:
        student.maps[0].data.mul_(0.5)

    assert "it changes the student's answer in place" in complaints(make_wrong(remember=remember))


def _ask_back(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
    (slope,) = torch.autograd.grad(teacher.embedding.square().sum(), teacher.embedding)
    return slope.detach()


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (_ask_back, "it raised RuntimeError: element 0 of tensors does not require grad"),
        (
            lambda self, t, b: t.embedding.detach() * (2 if t.embedding.requires_grad else 1),
            "from a cached teacher the term 'match' is not the same",
        ),
    ],
)
def test_a_method_that_needs_a_live_teacher_is_found(look: Any, words: str) -> None:
    text = complaints(make_wrong(look_at=look))
    assert words in text
    assert "ask the teacher's answer for its numbers only" in text or "use the numbers of the teacher's answer" in text


def test_the_shape_of_something_undeclared_is_found_missing_in_a_cache() -> None:
    reads = frozenset({"embedding"})
    wrong = make_wrong(teacher_reads=reads, look_at=lambda self, t, b: t.embedding.detach() / t.maps[-1].shape[1])
    text = complaints(wrong)
    assert "with answers that hold nothing but what it reads, the teacher's from a cache, it raised IndexError" in text
    assert "declare all it reads" in text
