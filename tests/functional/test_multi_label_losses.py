"""Losses of images with several labels: each class is a question of its own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dropkd.errors import ConfigError, ModelError
from dropkd.functional import kd_loss, kd_sigmoid_loss, logit_dropout_loss
from dropkd.functional.labels import label_loss

LOGIT = st.floats(-60, 60, width=32)


def draw(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_class_by_hand() -> None:
    # Teacher 3/4, student 1/2: 3/4 log(3/2) + 1/4 log(1/2).
    found = kd_sigmoid_loss(torch.tensor([[0.0]]), torch.tensor([[math.log(3.0)]]), temperature=1.0)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


def test_with_one_class_it_is_the_softmax_form_of_two_logits() -> None:
    student, teacher = draw(0, 6, 1), draw(1, 6, 1)
    pairs = [torch.cat([logits, torch.zeros_like(logits)], dim=1) for logits in (student, teacher)]
    torch.testing.assert_close(kd_sigmoid_loss(student, teacher, 3.0), kd_loss(*pairs, 3.0))


def test_a_teacher_that_is_sure_of_the_labels_gives_binary_cross_entropy() -> None:
    student, labels = draw(0, 5, 4), (draw(1, 5, 4) > 0).double()
    sure = (2 * labels - 1) * 800
    expected = F.binary_cross_entropy_with_logits(student, labels)
    torch.testing.assert_close(kd_sigmoid_loss(student, sure, 1.0), expected)


def test_its_gradient_is_the_difference_of_the_sigmoids_times_the_temperature() -> None:
    student, teacher = draw(0, 3, 4).requires_grad_(), draw(1, 3, 4)
    kd_sigmoid_loss(student, teacher, 2.0).backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, 2 / 12 * ((student / 2).sigmoid() - (teacher / 2).sigmoid()).detach())


def test_a_common_shift_of_the_logits_matters_here_and_not_to_the_softmax() -> None:
    logits = draw(0, 3, 4)
    assert kd_loss(logits + 1, logits).item() == pytest.approx(0, abs=1e-12)
    assert kd_sigmoid_loss(logits + 1, logits).item() > 0.1


@given(st.lists(st.tuples(LOGIT, LOGIT), min_size=1, max_size=6), st.sampled_from([0.5, 1.0, 4.0]))
def test_any_logits_up_to_60_give_finite_values_and_gradients(pairs: list[tuple[float, float]], heat: float) -> None:
    student, teacher = (torch.tensor([side], dtype=torch.float32) for side in zip(*pairs, strict=True))
    student.requires_grad_()
    found = kd_sigmoid_loss(student, teacher, heat)
    found.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    exact = kd_sigmoid_loss(student.double(), teacher.double(), heat)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4)


def test_wrong_arguments_are_named() -> None:
    logits = torch.zeros(2, 3)
    with pytest.raises(ModelError, match="logits of student and teacher must have one shape"):
        kd_sigmoid_loss(logits, torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="temperature must be greater than 0, got 0"):
        kd_sigmoid_loss(logits, logits, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_several_labels_is_binary_cross_entropy_of_smoothed_labels(smoothing: float) -> None:
    logits, labels = draw(0, 5, 4), (draw(1, 5, 4) > 0).double()
    found = label_loss(logits, labels, multi_label=True, label_smoothing=smoothing)
    shares = torch.where(labels > 0, 1 - smoothing / 2, smoothing / 2)
    by_hand = -(shares * logits.sigmoid().log() + (1 - shares) * (1 - logits.sigmoid()).log()).mean()
    torch.testing.assert_close(found, by_hand)


def test_the_loss_of_one_label_is_the_cross_entropy_as_before() -> None:
    logits, target = draw(0, 5, 4), torch.tensor([0, 3, 2, 1, 1])
    assert torch.equal(
        label_loss(logits, target, label_smoothing=0.1), F.cross_entropy(logits, target, label_smoothing=0.1)
    )


@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_without_dropout_the_logit_term_of_dropkd_is_the_sigmoid_loss(mode: str) -> None:
    student, teacher = draw(0, 5, 4), draw(1, 5, 4)
    found = logit_dropout_loss(student, teacher, 0.0, 0.0, 2.0, mode=mode, form="sigmoid")  # type: ignore[arg-type]
    torch.testing.assert_close(found, kd_sigmoid_loss(student, teacher, 2.0))


def test_a_dropped_logit_is_an_undecided_answer() -> None:
    # All but none of the student's are dropped: what is left of it is 1/2 for each class.
    student, teacher = draw(0, 4, 50), draw(1, 4, 50)
    found = logit_dropout_loss(student, teacher, 0.999999, 0.0, 2.0, form="sigmoid")
    torch.testing.assert_close(found, kd_sigmoid_loss(torch.zeros_like(student), teacher, 2.0))


def test_removed_classes_do_not_count() -> None:
    student, teacher, heat = draw(0, 4, 9), draw(1, 4, 9), 2.0
    source = torch.Generator().manual_seed(5)
    found = logit_dropout_loss(student, teacher, 0.5, 0.5, heat, mode="remove", generator=source, form="sigmoid")
    keep = torch.rand(4, 9, generator=torch.Generator().manual_seed(5)) >= 0.5
    rows = [kd_sigmoid_loss(s[k][None], t[k][None], heat) for s, t, k in zip(student, teacher, keep, strict=True)]
    torch.testing.assert_close(found, torch.stack(rows).mean())


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(ConfigError, match="form must be one of softmax, sigmoid, got 'sigmoids'"):
        logit_dropout_loss(torch.zeros(1, 2), torch.zeros(1, 2), form="sigmoids")  # type: ignore[arg-type]
