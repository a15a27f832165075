"""Attention transfer: the authors' values, its two forms, its powers, and any pair of networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    VIT,
    answer,
    check_close,
    check_golden,
    check_learning,
    check_recipe,
    golden_answers,
    golden_cases,
    labels,
    load_golden,
    make_pair,
    run,
)

from dropkd.contracts import Pair
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import at_loss
from dropkd.methods import build_method
from dropkd.methods.at import AT
from dropkd.testing import check_method

POWERS = {"at_f64_poolT_p3": 3.0}


@pytest.mark.parametrize("name", golden_cases("AT"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    check_golden(name, "at", power=POWERS.get(name, 2.0))


@pytest.mark.parametrize("name", ["at_f64_3stages", "at_f64_zero_row"])
def test_the_papers_form_is_its_equation_2(name: str) -> None:
    arrays = load_golden(name)
    student, teacher = golden_answers(arrays)
    method = AT(Pair(student.shapes, teacher.shapes, 2), form="paper")
    loss = method(student, teacher, labels(len(student.logits)))["attention"]
    check_close(name, loss, arrays["ref_variant_paper_eq2"])


@EACH_PAIR
@pytest.mark.parametrize(
    "options", [{}, {"form": "paper"}, {"power": 1.5}, {"power": 3.0}], ids=["default", "paper", "fraction", "odd"]
)
def test_any_pair_teaches(pair: Pair, options: dict[str, Any]) -> None:
    check_learning(AT(pair, **options))
    check_learning(AT(pair, **options), images=1)


def test_options_are_handed_to_the_loss_and_stages_are_counted_from_the_deep_end() -> None:
    pair = make_pair(CNN, VIT)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    for stages, count in (("all", 3), ("deepest", 1), (2, 2)):
        method = AT(pair, power=4.0, form="paper", stages=stages)
        expected = at_loss(student.maps[-count:], teacher.maps[-count:], 4, form="paper")
        torch.testing.assert_close(method(student, teacher, labels())["attention"], expected)


def test_the_default_is_the_authors_code_over_all_stages_with_weight_1000() -> None:
    method = AT(make_pair(CNN, VIT))
    assert (method.power, method.form, len(method.stages)) == (2.0, "code", 3)
    assert (method.terms, method.cross_entropy_weight) == ({"attention": 1000.0}, 1.0)
    assert not list(method.parameters())


def test_a_student_that_looks_where_the_teacher_looks_loses_nothing() -> None:
    pair = make_pair(CNN, CNN)
    for form in ("code", "paper"):
        student, teacher = answer(pair.student), answer(pair.student)
        turned = student._replace(maps=tuple(-3 * m.flip(1) for m in student.maps))
        loss = AT(pair, form=form)(turned, teacher, labels())["attention"]
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-5)
        assert all(m.grad.isfinite().all() for m in student.maps)


def test_a_stage_of_one_cell_adds_nothing_and_a_pair_of_such_stages_only_is_refused() -> None:
    deep = ((8, 4, 4), (16, 1, 1))
    both, deepest = AT(make_pair(deep, CNN)), AT(make_pair(deep[:1], CNN[:2]))
    student, teacher = answer(both.pair.student, seed=1), answer(both.pair.teacher, seed=2)
    alone = deepest(student._replace(maps=student.maps[:1]), teacher._replace(maps=teacher.maps[:2]), labels())
    torch.testing.assert_close(both(student, teacher, labels())["attention"], alone["attention"])
    with pytest.raises(ModelError, match=r"grids of one cell only: \(16, 1, 1\) with \(24, 4, 4\)") as caught:
        AT(make_pair(deep, CNN), stages="deepest")
    assert "AT compares the positions" in str(caught.value)
    assert "method.stages" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"power": 0.5}, "method.power must be a number, at least 1, got 0.5"),
        ({"form": "papers"}, "method.form must be one of 'code', 'paper', got 'papers'"),
        ({"stages": 0}, "method.stages must be"),
        ({"pwoer": 2.0}, "Did you mean 'power'?"),
        ({"stages": 9}, "at most 3 pairs"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_method("at", make_pair(CNN, VIT), options)
    assert words in str(caught.value)


def test_without_its_term_it_computes_nothing() -> None:
    method = AT(make_pair(CNN, VIT))
    method.restrict_terms([])
    assert run(method)[0] == {}


@pytest.mark.parametrize("options", [{"form": "paper", "power": 1.5}, {"power": 3.0, "stages": "deepest"}], ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(AT, options)


def test_the_recipe_is_the_benchmarks_training() -> None:
    options = check_recipe("at").method.options
    assert options == {"power": 2, "form": "code", "stages": "all"}
