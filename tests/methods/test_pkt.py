"""Probabilistic transfer: the authors' values, its batches, and any widths."""

from __future__ import annotations

import math

import pytest
import torch
from embedding_pairs import check_golden, compare, draw, make_pair, run
from map_pairs import check_recipe, golden_cases

from dropkd.errors import ConfigError
from dropkd.methods.pkt import PKT

PAIR = make_pair(6, 9)


@pytest.mark.parametrize("name", golden_cases("PKT"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    check_golden(name, PKT(PAIR))


def test_probabilities_are_found_by_hand() -> None:
    # Two images at a right angle: cosines (1, 0), so shares (2/3, 1/3). Two alike: (1/2, 1/2).
    apart, alike = torch.eye(2).double(), torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double()
    expected = 2 * (1 / 2 * math.log(3 / 4) + 1 / 2 * math.log(3 / 2)) / 4
    assert compare(PKT(PAIR), apart, alike)["similarity"].item() == pytest.approx(expected, rel=1e-5)


def test_the_length_of_embeddings_is_without_effect() -> None:
    student, teacher = draw(5, 6, seed=1), draw(5, 9, seed=2)
    lengths = torch.tensor([[0.5], [1.0], [3.0], [7.0], [20.0]])
    found = compare(PKT(PAIR), student * lengths, teacher * lengths.flip(0))["similarity"]
    torch.testing.assert_close(found, compare(PKT(PAIR), student, teacher)["similarity"], rtol=1e-3, atol=1e-7)


def test_the_term_halves_where_every_image_comes_twice_so_its_weight_belongs_to_a_size_of_batch() -> None:
    student, teacher = draw(5, 6, seed=1).double(), draw(5, 9, seed=2).double()
    once = compare(PKT(PAIR), student, teacher)["similarity"]
    twice = compare(PKT(PAIR), student.repeat(2, 1), teacher.repeat(2, 1))["similarity"]
    torch.testing.assert_close(twice, once / 2, rtol=1e-4, atol=0.0)


def test_embeddings_of_0_are_equally_near_to_all() -> None:
    student = torch.zeros(4, 6, requires_grad=True)
    term = compare(PKT(PAIR), student, torch.zeros(4, 9))["similarity"]
    term.backward()
    assert term.item() == 0.0
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_one_image_is_too_few_in_words() -> None:
    assert PKT.least_batch == 2
    with pytest.raises(ConfigError, match="PKT, which compares images with each other, needs at least 2 images"):
        run(PKT(PAIR), images=1)


def test_the_published_weight_is_30000_and_nothing_is_trained() -> None:
    method = PKT(PAIR)
    assert (method.terms, method.cross_entropy_weight) == ({"similarity": 30000.0}, 1.0)
    assert not list(method.parameters())


def test_without_its_term_it_computes_nothing() -> None:
    method = PKT(PAIR)
    method.restrict_terms([])
    assert run(method) == {}


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("pkt").method.options == {}
