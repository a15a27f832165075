"""Losses where there are many more classes than images in a batch."""

from __future__ import annotations

from typing import Any

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dropkd.functional import class_correlation_loss, dist_loss, dkd_loss, kd_loss, mld_loss, ofa_loss


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor):
                self.numbers = max(self.numbers, made.numel())
        return result


def draw(images: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, images, classes, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(11, 30), st.integers(0, 10**6))
def test_products_of_classes_are_their_definition_where_products_of_images_stand_for_them(
    images: int, classes: int, seed: int
) -> None:
    student, teacher = draw(images, classes, seed)
    found = class_correlation_loss(student, teacher, 3.0)
    expected = oracles.correlate_classes(student.detach().numpy(), teacher.numpy(), 3.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    (gradient,) = torch.autograd.grad(found, student)
    shares, theirs = (student / 3).softmax(1), (teacher / 3).softmax(1)
    whole = (theirs.T @ theirs - shares.T @ shares).square().sum() / classes
    (direct,) = torch.autograd.grad(whole, student)
    torch.testing.assert_close(gradient, direct, rtol=1e-8, atol=1e-14)


def test_a_student_that_is_its_teacher_loses_nothing_and_is_not_pulled() -> None:
    student, _ = draw(4, 300, 0)
    loss = class_correlation_loss(student.float(), student.detach().float(), 4.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0
    assert gradient.abs().max() == 0


def test_no_loss_of_logits_makes_a_table_of_all_pairs_of_classes() -> None:
    images, classes = 2, 5_000
    student, teacher = (values.float() for values in draw(images, classes, 0))
    target = torch.arange(images)
    with Largest() as largest:
        total = (
            kd_loss(student, teacher) + dkd_loss(student, teacher, target) + dist_loss(student, teacher)
            + ofa_loss(student, teacher, target) + mld_loss(student, student, teacher, teacher)
        )  # fmt: skip
        total.backward()
    assert largest.numbers <= 10 * images * classes
