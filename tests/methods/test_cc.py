"""Correlation congruence: the published code's values, the paper's kernel, and any widths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from embedding_pairs import compare, draw, make_pair, make_published_pair, run
from map_pairs import check_close, check_recipe, load_golden
from torch import Tensor

from dropkd.errors import ConfigError
from dropkd.functional import cc_kernel_loss
from dropkd.methods import build_method
from dropkd.methods.cc import CC
from dropkd.testing import check_method

PAIR = make_pair(6, 9)


def build_unprojected(width: int, **options: Any) -> CC:
    """Return the method with projectors that leave embeddings as they are."""
    method = CC(make_pair(width, width), width=width, **options).double()
    with torch.no_grad():
        for projector in method.projectors.values():
            projector.weight.copy_(torch.eye(width))
            projector.bias.zero_()
    return method


def test_values_and_gradients_are_those_of_the_published_code() -> None:
    arrays, method = load_golden("cc_f64"), build_unprojected(12)
    student = arrays["in_student"].clone().requires_grad_()
    term = compare(method, student, arrays["in_teacher"])["correlation"]
    term.backward()
    check_close("cc_f64", term.detach(), arrays["out_loss"])
    check_close("cc_f64", student.grad, arrays["grad_loss_wrt_student"])
    # What reaches the teacher's embedding in that code reaches its projector here.
    gradient = arrays["grad_loss_wrt_teacher"]
    check_close("cc_f64", method.projectors["teacher"].bias.grad, gradient.sum(dim=0))
    check_close("cc_f64", method.projectors["teacher"].weight.grad, gradient.T @ arrays["in_teacher"])


def expand(student: Tensor, teacher: Tensor, gamma: float, order: int) -> float:
    """The kernel form, written slowly."""
    total, images = 0.0, len(student)
    for i in range(images):
        for j in range(images):
            kernels = []
            for rows in (student.numpy(), teacher.numpy()):
                cosine = rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
                series = sum((2 * gamma * cosine) ** p / math.factorial(p) for p in range(order + 1))
                kernels.append(math.exp(-2 * gamma) * series)
            total += (kernels[0] - kernels[1]) ** 2
    return total / images**2


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (0.4, 1), (1.5, 5)])
def test_the_kernel_form_is_its_slow_definition(gamma: float, order: int) -> None:
    student, teacher = draw(5, 4, seed=1).double(), draw(5, 4, seed=2).double()
    found = compare(build_unprojected(4, form="kernel", gamma=gamma, order=order), student, teacher)["correlation"]
    assert found.item() == pytest.approx(expand(student, teacher, gamma, order), rel=1e-9)


def test_a_long_series_is_the_gaussian_kernel() -> None:
    student, teacher = draw(5, 4, seed=1).double(), draw(5, 7, seed=2).double()
    units = [rows / rows.norm(dim=1, keepdim=True) for rows in (student, teacher)]
    kernels = [torch.exp(-0.7 * torch.cdist(rows, rows).square()) for rows in units]
    expected = (kernels[0] - kernels[1]).square().mean()
    torch.testing.assert_close(cc_kernel_loss(student, teacher, gamma=0.7, order=30), expected)


def test_the_order_of_the_images_matters_to_neighbours_and_not_to_the_kernel() -> None:
    student, teacher, order = draw(6, 6, seed=1), draw(6, 9, seed=2), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.manual_seed(0)
    for form, is_orderless in (("neighbours", False), ("kernel", True)):
        method = CC(PAIR, form=form)
        first = compare(method, student, teacher)["correlation"]
        second = compare(method, student[order], teacher[order])["correlation"]
        assert torch.isclose(first, second) == is_orderless


def test_both_projectors_learn_in_both_forms() -> None:
    for form in ("neighbours", "kernel"):
        method = CC(PAIR, form=form)
        run(method)["correlation"].backward()
        assert all(p.grad is not None and p.grad.count_nonzero() for p in method.parameters())


def test_the_published_defaults_are_neighbours_at_weight_0_02_and_width_128() -> None:
    method = CC(PAIR)
    assert (method.terms, method.cross_entropy_weight, method.form) == ({"correlation": 0.02}, 1.0, "neighbours")
    assert [projector.out_features for projector in method.projectors.values()] == [128, 128]
    assert (method.gamma, method.order) == (0.4, 2)


def test_it_trains_16640_parameters_for_the_published_pair() -> None:
    assert sum(p.numel() for p in CC(make_published_pair()).parameters()) == 16640


@pytest.mark.parametrize("form", ["neighbours", "kernel"])
def test_one_image_is_too_few_in_words(form: Any) -> None:
    assert CC.least_batch == 2
    with pytest.raises(ConfigError, match="a correlation between the images of a batch needs at least 2 images"):
        run(CC(PAIR, form=form), images=1)


def test_another_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"method.form must be one of 'neighbours', 'kernel', got 'gauss'"):
        build_method("cc", PAIR, {"form": "gauss"})


def test_without_its_term_it_computes_nothing_and_trains_nothing() -> None:
    method = CC(PAIR)
    method.restrict_terms([])
    assert run(method) == {}
    assert not any(p.requires_grad for p in method.parameters())


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(CC, {"form": "kernel", "width": 5, "gamma": 2.0, "order": 4})


def test_the_recipe_is_the_benchmarks_training() -> None:
    options = {"form": "neighbours", "width": 128, "gamma": 0.4, "order": 2}
    assert check_recipe("cc").method.options == options
