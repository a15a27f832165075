"""Similarity-preserving distillation: the authors' values, its batches, and any pair of networks."""

from __future__ import annotations

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

from dropkd.contracts import Pair
from dropkd.errors import ConfigError
from dropkd.functional import sp_loss
from dropkd.methods import build_method
from dropkd.methods.sp import SP
from dropkd.testing import check_method


@pytest.mark.parametrize("name", golden_cases("SP"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    check_golden(name, "sp")


@EACH_PAIR
def test_any_pair_teaches(pair: Pair) -> None:
    check_learning(SP(pair, stages="all"))
    check_learning(SP(pair), images=2)


def test_stages_are_counted_from_the_deep_end_and_the_last_one_is_compared_by_default() -> None:
    pair = make_pair(CNN, VIT)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    for options, count in (({}, 1), ({"stages": "all"}, 3), ({"stages": 2}, 2)):
        pairs = zip(student.maps[-count:], teacher.maps[-count:], strict=True)
        expected = torch.stack([sp_loss(*maps) for maps in pairs]).sum()
        torch.testing.assert_close(SP(pair, **options)(student, teacher, labels())["similarity"], expected)


def test_each_row_of_similarities_has_length_1_by_the_root_of_its_squares() -> None:
    pair = make_pair([(2, 1, 1)], [(2, 1, 1)])
    apart, alike = torch.eye(2)[:, :, None, None], torch.tensor([[1.0, 0.0], [1.0, 0.0]])[:, :, None, None]
    student, teacher = (answer(pair.student, images=2)._replace(maps=(m,)) for m in (apart, alike))
    found = SP(pair)(student, teacher, labels(2))["similarity"]
    half = 0.5**0.5
    assert found.item() == pytest.approx((2 * (1 - half) ** 2 + 2 * half**2) / 4)


def test_the_published_weight_is_3000_and_nothing_is_trained() -> None:
    method = SP(make_pair(CNN, VIT))
    assert (method.terms, method.cross_entropy_weight) == ({"similarity": 3000.0}, 1.0)
    assert not list(method.parameters())


def test_one_image_is_too_few_in_words() -> None:
    assert SP.least_batch == 2
    with pytest.raises(ConfigError, match="SP, which compares images with each other, needs at least 2 images"):
        run(SP(make_pair(CNN, VIT)), images=1)


def test_more_stages_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.stages is 4, but .* at most 3 pairs"):
        build_method("sp", make_pair(CNN, VIT), {"stages": 4})


def test_without_its_term_it_computes_nothing() -> None:
    method = SP(make_pair(CNN, VIT))
    method.restrict_terms([])
    assert run(method)[0] == {}


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(SP, {"stages": "all"})


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("sp").method.options == {"stages": "deepest"}
