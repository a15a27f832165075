"""What all methods of logits have in common: extremes, few and many classes, standardised logits, mixed labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from logit_pairs import ask, build, draw, load_recipe
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.functional import standardize_logits
from dropkd.methods import method_class
from dropkd.testing import check_method

NO_DROPOUT: dict[str, Any] = {"logit_rate_teacher": 0.0, "logit_rate_student": 0.0, "center_logits": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "kd": {},
    "lskd": {},
    "dkd": {},
    "dist": {},
    "mld": {},
    "ofakd": {},
    "dropkd": NO_DROPOUT,
}
# The terms that standardised logits change, all of a method where it is not said.
CHANGED = {"mld": {"instance"}, "dropkd": {"logit"}}
EACH = pytest.mark.parametrize("name", OPTIONS)
EACH_WITH_A_SWITCH = pytest.mark.parametrize("name", [name for name in OPTIONS if name != "lskd"])


@EACH_WITH_A_SWITCH
def test_the_contract_holds_with_standardised_logits(name: str) -> None:
    check_method(method_class(name), {"standardize": True})


@EACH_WITH_A_SWITCH
def test_standardised_logits_are_what_the_plain_method_sees_with_the_switch(name: str) -> None:
    student, teacher = draw(seed=1), draw(seed=2) * 5 + 3
    plain, switched = build(name, **OPTIONS[name]), build(name, **OPTIONS[name], standardize=True)
    changed = CHANGED.get(name, {*plain.terms} - {"stages"})
    before, found = ask(plain, student, teacher), ask(switched, student, teacher)
    by_hand = ask(plain, standardize_logits(student), standardize_logits(teacher))
    for term in found:
        if term in changed:
            torch.testing.assert_close(found[term], by_hand[term])
        assert torch.equal(found[term], before[term]) == (term not in changed and term != "stages"), term


@pytest.mark.parametrize("name", ["lskd", "kd", "dkd", "dist", "ofakd"])
def test_size_and_level_of_a_row_are_not_distilled_with_standardised_logits(name: str) -> None:
    method = build(name, **({} if name == "lskd" else {"standardize": True}))
    student, teacher = draw(seed=1), draw(seed=2)
    rows = torch.linspace(0.5, 20, len(student), dtype=student.dtype).unsqueeze(1)
    found, moved = ask(method, student, teacher), ask(method, student * rows - rows, teacher / rows + 7)
    for term in found:
        torch.testing.assert_close(found[term], moved[term], rtol=1e-5, atol=1e-7)


@EACH
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_logits_of_60_and_minus_60_are_finite_in_value_and_gradient(
    name: str, standardize: bool, temperature: float
) -> None:
    switch = {} if name == "lskd" else {"standardize": standardize}
    method = build(name, **switch, temperature=temperature)
    student = (draw(seed=1).sign() * 60).float().requires_grad_()
    terms = ask(method, student, -student.detach())
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())
    (gradient,) = torch.autograd.grad(torch.stack([*terms.values()]).sum(), student)
    assert gradient.isfinite().all()


@EACH
@pytest.mark.parametrize("classes", [2, 1000])
def test_two_classes_and_a_thousand_teach(name: str, classes: int) -> None:
    student = draw(classes=classes, seed=1).requires_grad_()
    terms = ask(build(name, classes), student, draw(classes=classes, seed=2))
    assert all(value.isfinite() for value in terms.values())
    (gradient,) = torch.autograd.grad(torch.stack([*terms.values()]).sum(), student)
    assert gradient.isfinite().all()
    # Standardised logits of two classes are constants: LSKD's Note says so.
    assert bool(gradient.abs().max() > 1e-6) == ((name, classes) != ("lskd", 2))


@EACH
def test_a_teacher_of_other_classes_is_refused_with_both_shapes(name: str) -> None:
    images = 3 if name == "mld" else 6
    with pytest.raises(ModelError, match=rf"one shape, got \({images}, 7\) and \({images}, 5\)"):
        ask(build(name), draw(), draw(classes=5))


@EACH
def test_only_active_terms_are_returned_and_each_is_the_same_alone(name: str) -> None:
    method, student, teacher = build(name).eval(), draw(seed=1), draw(seed=2)
    together = ask(method, student, teacher)
    for term in method.terms:
        method.restrict_terms([term])
        torch.testing.assert_close(ask(method, student, teacher), {term: together[term]})
    method.restrict_terms([])
    assert ask(method, student, teacher) == {}


@pytest.mark.parametrize("name", ["dkd", "ofakd"])
def test_mixed_images_have_the_class_of_the_larger_share_as_target(name: str) -> None:
    method, target = build(name), torch.tensor([3, 0, 6, 1, 1, 2])
    shares = 0.6 * F.one_hot(target, 7) + 0.4 * F.one_hot(target.flip(0), 7)
    found = ask(method, draw(seed=1), draw(seed=2), target, shares)
    assert all(
        torch.equal(value, found[term]) for term, value in ask(method, draw(seed=1), draw(seed=2), target).items()
    )


@pytest.mark.parametrize("name", ["plain", *OPTIONS])
def test_the_recipe_spells_out_each_option_and_weight(name: str) -> None:
    config = load_recipe(name)
    assert config.data.validation_fraction == 0
    assert (config.teacher is None) == (name == "plain")
