"""Small batches, hard answers, other networks: each clause is broken once, and found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dropkd.contracts import Batch, Outputs
from dropkd.errors import ConfigError
from dropkd.methods.method import Method
from dropkd.testing import check_method

from .wrong_methods import Reader, complaints, make_wrong


def _refuse_one(self: Any, student: Outputs, goal: Tensor, batch: Batch) -> None:
    if len(goal) < 2:
        raise ConfigError("Wrong compares images and needs two of them.")


def _fail_below(least: int) -> Any:
    def remember(self: Any, student: Outputs, goal: Tensor, batch: Batch) -> None:
        if len(goal) < least:
            raise ValueError(f"expected {least} rows")

    return remember


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"remember": _refuse_one},
            "with one image (its least_batch is 1) it refuses: Wrong compares images and needs two of them.",
        ),
        ({"remember": _fail_below(2)}, "with one image (its least_batch is 1) it raised ValueError: expected 2 rows"),
        ({"remember": _fail_below(4), "least_batch": 4}, "with 3 images (its least_batch is 4) it raised ValueError"),
        (
            {"look_at": lambda self, t, b: t.embedding.detach() / (len(b.target) // 2) * 0, "least_batch": 1},
            "with one image (its least_batch is 1): the term 'match' is nan",
        ),
        (
            {"look_at": lambda self, t, b: t.embedding.detach() / (len(b.target) // 8 - 1), "least_batch": 8},
            "with 8 images (its least_batch is 8): the term 'match' is",
        ),
    ],
)
def test_a_wrong_least_batch_is_found(changes: dict[str, Any], words: str) -> None:
    assert words in complaints(make_wrong(**changes))


def test_a_method_that_says_its_least_batch_and_refuses_less_passes() -> None:
    check_method(make_wrong(remember=_refuse_one, least_batch=2))


def _without_memory(look: Any, **changes: Any) -> type[Method]:
    return make_wrong(look_at=look, remember=lambda self, student, goal, batch: None, **changes)


def _normalise_student(self: Any, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
    terms = Reader.forward(self, student, teacher, batch)
    if "spread" in terms:
        terms["spread"] = student.logits.norm(dim=1).sqrt().mean()
    return terms


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            _without_memory(lambda self, t, b: t.embedding.detach() / t.embedding.detach().abs().max()),
            "with answers of 0: the term 'match' is nan",
        ),
        (make_wrong(forward=_normalise_student), "with answers of 0: the gradient of 'logits' is not finite"),
        (
            _without_memory(lambda self, t, b: t.embedding.detach() + t.logits.detach().exp().square().mean()),
            "with answers of 60 and -60: the term 'match' is inf",
        ),
        (
            _without_memory(lambda self, t, b: t.embedding.detach() / (b.target.max() + t.embedding.sum().isnan())),
            "with one class in the batch: the term 'match' is",
        ),
        (
            _without_memory(lambda self, t, b: t.embedding.detach() + t.maps[1].detach().mean()),
            "with maps of one cell it raised IndexError",
        ),
        (
            _without_memory(lambda self, t, b: t.embedding.detach() + self.pair.teacher_norms[-1][0].detach().mean()),
            "with a teacher whose batch norms are not known it raised IndexError",
        ),
        (
            _without_memory(lambda self, t, b: t.embedding.detach() + self.pair.targets[b.index].float().mean()),
            "with training samples that are not known beforehand it raised TypeError",
        ),
        (
            _without_memory(lambda s, t, b: t.embedding.detach() + t.logits.detach()[:, s.pair.num_classes - 1 :]),
            "with a teacher of other classes it raised RuntimeError",
        ),
    ],
)
def test_answers_and_networks_that_strain_are_tried(wrong: type[Method], words: str) -> None:
    assert words in complaints(wrong)


def test_a_term_that_depends_on_the_others_is_found() -> None:
    def look(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
        return teacher.embedding.detach() * len(self.active)

    text = complaints(_without_memory(look))
    assert "beside the others: compute each term in the same way, whichever others are active" in text


def test_terms_of_random_numbers_that_are_drawn_in_turn_do_not_count_as_dependent() -> None:
    def forward(self: Any, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        terms = Reader.forward(self, student, teacher, batch)
        return {name: value * torch.rand(()) if self.training else value for name, value in terms.items()}

    check_method(make_wrong(forward=forward))
