"""Neuron selectivity transfer: the authors' values, its memory, and any pair of networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    VIT,
    answer,
    check_golden,
    check_learning,
    check_recipe,
    golden_cases,
    labels,
    make_pair,
    run,
)
from torch import Tensor

from dropkd.contracts import Pair
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import nst_loss
from dropkd.methods import build_method
from dropkd.methods.nst import NST
from dropkd.testing import check_method


@pytest.mark.parametrize("name", golden_cases("NST"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    check_golden(name, "nst")


@EACH_PAIR
def test_any_pair_teaches(pair: Pair) -> None:
    check_learning(NST(pair))
    check_learning(NST(pair), images=1)


def test_stages_are_counted_from_the_deep_end_and_all_are_compared_by_default() -> None:
    pair = make_pair(CNN, VIT)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    for options, count in (({}, 3), ({"stages": "deepest"}, 1), ({"stages": 2}, 2)):
        expected = nst_loss(student.maps[-count:], teacher.maps[-count:])
        torch.testing.assert_close(NST(pair, **options)(student, teacher, labels())["selectivity"], expected)


def test_the_published_weight_is_50_and_nothing_is_trained() -> None:
    method = NST(make_pair(CNN, VIT))
    assert (method.terms, method.cross_entropy_weight) == ({"selectivity": 50.0}, 1.0)
    assert not list(method.parameters())


def test_channels_that_respond_at_the_same_positions_are_alike_whatever_their_order_sign_and_number() -> None:
    student, teacher = make_pair(CNN, CNN), make_pair(CNN, tuple((2 * c, h, w) for c, h, w in CNN))
    maps = answer(student.student).maps
    same = answer(student.student)._replace(maps=tuple(-2 * m.flip(1) for m in maps))
    twice = answer(teacher.teacher)._replace(maps=tuple(torch.cat((m, m), dim=1) for m in maps))
    assert NST(student)(same, answer(student.student), labels())["selectivity"].item() == pytest.approx(0, abs=1e-6)
    assert NST(teacher)(same, twice, labels())["selectivity"].item() == pytest.approx(0, abs=1e-6)
    assert run(NST(student))[0]["selectivity"] > 0.01


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((512, 7, 7), (2048, 7, 7)), ((16, 24, 24), (96, 24, 24)), ((300, 16, 16), (200, 16, 16))],
    ids=["many channels", "many positions", "as many of both"],
)
def test_a_step_keeps_no_tensor_larger_than_the_larger_map(student: Any, teacher: Any) -> None:
    method, sizes = NST(make_pair([student], [teacher])), []

    def measure(kept: Tensor) -> Tensor:
        sizes.append(kept.numel())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(measure, lambda kept: kept):
        (loss,) = run(method, images=2)[0].values()
    loss.backward()
    assert sizes
    assert max(sizes) <= 2 * max(torch.Size(student).numel(), torch.Size(teacher).numel())


def test_a_pair_whose_grids_have_one_cell_only_is_refused() -> None:
    deep = ((8, 4, 4), (16, 1, 1))
    check_learning(NST(make_pair(deep, CNN)))
    with pytest.raises(ModelError, match=r"NST compares the positions of feature maps.* grids of one cell only"):
        NST(make_pair(CNN, deep), stages="deepest")


def test_more_stages_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.stages is 4, but .* at most 3 pairs"):
        build_method("nst", make_pair(CNN, VIT), {"stages": 4})


def test_without_its_term_it_computes_nothing() -> None:
    method = NST(make_pair(CNN, VIT))
    method.restrict_terms([])
    assert run(method)[0] == {}


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(NST, {"stages": 1})


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("nst").method.options == {"stages": "all"}
