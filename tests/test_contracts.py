"""What a network's answer does with the weight of its classifier."""

from __future__ import annotations

import torch
from torch import Tensor

from dropkd.contracts import Outputs, Shapes


def _answer(classifier: Tensor | None) -> Outputs:
    return Outputs(torch.arange(12.0).reshape(4, 3), (torch.zeros(4, 2, 5, 6),), torch.zeros(4, 2), classifier)


def test_the_classifier_is_changed_and_cut_off_like_any_tensor_of_the_answer() -> None:
    weight = torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True)
    answer = _answer(weight)
    doubled, cut, wide = answer.apply(lambda t: t * 2).classifier, answer.detach().classifier, answer.float().classifier
    assert doubled is not None
    assert doubled.eq(2).all()
    assert cut is not None
    assert not cut.requires_grad
    assert wide is not None
    assert (wide.dtype, wide.requires_grad) == (torch.float32, True)


def test_each_view_has_the_whole_classifier() -> None:
    weight = torch.ones(3, 2)
    first, second = _answer(weight).split(2)
    assert first.classifier is weight
    assert second.classifier is weight
    assert second.logits.tolist() == [[6, 7, 8], [9, 10, 11]]


def test_an_answer_without_a_classifier_stays_without() -> None:
    answer = _answer(None)
    assert answer == Outputs(*answer[:3])
    assert all(a.classifier is None for a in (answer.detach(), answer.float(), *answer.split(2)))


def test_shapes_say_whether_there_is_a_classifier() -> None:
    assert _answer(None).shapes == Shapes(3, ((2, 5, 6),), 2)
    assert _answer(torch.ones(3, 2)).shapes == Shapes(3, ((2, 5, 6),), 2, has_classifier=True)
