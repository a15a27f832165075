"""LSKD: the authors' values, alone and as an option of KD and DKD, and its published weights."""

from __future__ import annotations

import pytest
import torch
from logit_pairs import ask, build, check_cifar_training, check_golden_total, draw, load_recipe
from map_pairs import MANIFEST, golden_cases

from dropkd.methods.lskd import LSKD

CASES = pytest.mark.parametrize("name", golden_cases("LogitStdKD"))


def _build(name: str, method: str, **options: bool) -> object:
    case = MANIFEST[name]
    return build(method, case["shapes"]["in_student"][1], temperature=case["hyper"]["T"], **options)


@CASES
def test_with_the_default_weights_it_is_the_loss_of_the_authors_code(name: str) -> None:
    method = _build(name, "lskd")
    check_golden_total(name, method, "total_ce01_kd9", dict(LSKD.terms), labelled=LSKD.cross_entropy_weight)
    check_golden_total(name, method, "loss", {"logit": 1.0})


@CASES
def test_kd_and_dkd_take_standardised_logits_as_the_authors_combine_them(name: str) -> None:
    check_golden_total(name, _build(name, "kd", standardize=True), "loss", {"logit": 1.0})
    weights = {"target": 1.0, "nontarget": 8.0}
    check_golden_total(name, _build(name, "dkd", standardize=True), "dkd_a1_b8", weights)


def test_equal_logits_of_a_row_are_no_news_and_break_nothing() -> None:
    student = torch.zeros(3, 7, dtype=torch.float64, requires_grad=True)
    loss = ask(build("lskd"), student, draw(images=3))["logit"]
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss > 0
    assert gradient.isfinite().all()
    assert ask(build("lskd"), student, student.detach() + 4)["logit"] == 0


def test_two_classes_leave_which_of_them_is_first() -> None:
    student, teacher = torch.tensor([[0.0, 0.1]]), torch.tensor([[-9.0, 40.0]])
    method = build("lskd", 2)
    assert ask(method, student, teacher)["logit"].item() == pytest.approx(0, abs=1e-5)
    assert ask(method, student.flip(1), teacher)["logit"] > 0.5


def test_defaults_are_the_published_ones() -> None:
    assert LSKD.terms == {"logit": 9.0}
    assert (LSKD.cross_entropy_weight, LSKD.warmup_epochs, build("lskd").temperature) == (0.1, 0.0, 2.0)
    assert not list(build("lskd").parameters())
    config = load_recipe("lskd")
    check_cifar_training(config)
    assert config.method.weights == {"cross_entropy": 0.1, **LSKD.terms}
    assert config.method.options == {"temperature": 2.0}
