"""How much maps agree: against scipy, against counts by hand, and beside maps of different images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from dropkd.overlays.agreement import (
    mark_highest,
    measure_agreement,
    overlap,
    rank_correlation,
    sample_map,
    share_points,
)
from dropkd.overlays.faithfulness import sum_up_costs

rows_of_ties = arrays(np.float64, (2, 12), elements=st.integers(0, 5).map(float))


@given(rows_of_ties)
def test_the_rank_correlation_is_scipys_ties_and_all(rows: np.ndarray) -> None:
    found = rank_correlation(rows[:1], rows[1:])[0, 0]
    if min(np.ptp(rows[0]), np.ptp(rows[1])) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(rows[0], rows[1]).statistic, abs=1e-9)


@given(rows_of_ties)
def test_a_rising_change_of_scale_changes_no_agreement(rows: np.ndarray) -> None:
    other = np.expm1(rows)
    assert np.array_equal(rank_correlation(rows, rows), rank_correlation(other, rows), equal_nan=True)
    assert np.array_equal(overlap(rows, rows), overlap(other, rows), equal_nan=True)


def test_the_overlap_counts_the_top_fifth() -> None:
    one, other = np.arange(10.0)[None], np.array([[0, 0, 0, 0, 0, 0, 0, 1, 2, 0.0]])
    # 8 and 9 against 7 and 8.
    assert overlap(one, other)[0, 0] == pytest.approx(1 / 3)
    assert overlap(one, one)[0, 0] == 1


def test_what_is_zero_is_never_among_the_highest() -> None:
    assert mark_highest(np.array([0, 0, 3, 0, 0, 0, 0, 0, 0, 0.0])).tolist() == [False, False, True] + [False] * 7
    assert not mark_highest(np.zeros(5)).any()


def test_maps_are_compared_on_what_both_networks_are_shown() -> None:
    # One network is shown all of the image, the other the middle half: the middle cells of the one.
    whole = np.kron(np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0.0]]), np.ones((8, 8)))
    part = np.kron(np.array([[1, 2], [3, 4.0]]), np.ones((8, 8)))
    first, second = share_points(whole, (1, 1), (0.5, 0.5)), share_points(part, (0.5, 0.5), (1, 1))
    np.testing.assert_allclose(first[8:-8, 8:-8], second[8:-8, 8:-8])


def test_a_map_between_its_cells_is_between_their_values() -> None:
    values = np.random.default_rng(0).random((3, 5))
    centres = [(np.arange(n) + 0.5) / n for n in values.shape]
    np.testing.assert_allclose(sample_map(values, *centres), values)
    fine = sample_map(values, np.linspace(-1, 2, 50), np.linspace(-1, 2, 50))
    assert values.min() <= fine.min() <= fine.max() <= values.max()


def test_agreement_stands_beside_that_of_different_images() -> None:
    random = np.random.default_rng(0)
    shared = random.random((40, 8, 8))
    one, other = (list(shared + 0.3 * random.random(shared.shape)) for _ in range(2))
    found = measure_agreement(one, other, without=2)
    assert found is not None
    assert (found.images, found.without) == (40, 2)
    assert found.rank_correlation > 0.8
    assert found.rank_interval is not None
    assert found.rank_interval[0] < found.rank_correlation < found.rank_interval[1]
    assert abs(found.other_rank_correlation or 1) < 0.1
    assert found.overlap > 2 * (found.other_overlap or 1)


def test_agreement_that_comes_of_looking_at_the_middle_is_seen_in_that_of_different_images() -> None:
    random = np.random.default_rng(0)
    middle = np.exp(-((np.indices((8, 8)) - 3.5) ** 2).sum(0) / 8)
    one, other = ([middle + 0.1 * random.random((8, 8)) for _ in range(30)] for _ in range(2))
    found = measure_agreement(one, other)
    assert found is not None
    assert found.rank_correlation == pytest.approx(found.other_rank_correlation, abs=0.03)


def test_without_two_maps_there_is_no_agreement_and_of_one_image_no_interval() -> None:
    assert measure_agreement([], [], without=3) is None
    assert measure_agreement([np.ones((4, 4))], [np.ones((4, 4))]) is None
    found = measure_agreement([np.eye(4)], [np.eye(4)])
    assert found is not None
    assert (found.rank_correlation, found.rank_interval, found.other_overlap) == (1.0, None, None)


def test_what_covering_costs_is_averaged_with_an_interval_of_the_difference() -> None:
    random = np.random.default_rng(0).normal(size=100)
    found = sum_up_costs([(2 + value, 1 + value) for value in random.tolist()])
    assert found is not None
    assert found.own - found.other == pytest.approx(1)
    assert found.interval == pytest.approx((1, 1))
    assert sum_up_costs([]) is None
