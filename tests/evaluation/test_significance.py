"""p-values against scipy, and Holm's correction by its properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dropkd.statistics.significance import bootstrap_p_value, holm, student_p_value, t_test_p_value, welch_test


@given(st.floats(-50, 50), st.integers(1, 200))
def test_students_p_value_is_that_of_scipy(t: float, degrees: int) -> None:
    assert student_p_value(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10))
def test_the_paired_test_is_that_of_scipy(values: list[float]) -> None:
    found = t_test_p_value(values)
    if np.std(values) > 1e-9:
        assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-6)
    else:
        assert found in (0.0, 1.0)


def test_one_seed_gives_no_p_value_and_equal_differences_give_a_clear_one() -> None:
    assert t_test_p_value([0.3]) is None
    assert t_test_p_value([0.0, 0.0]) == 1.0
    assert t_test_p_value([0.1, 0.1]) == 0.0


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 100))
def test_unpaired_values_are_judged_as_by_welch_but_never_more_boldly(first: int, second: int, seed: int) -> None:
    source = np.random.default_rng(seed)
    a, b = source.normal(0.5, 1, first), source.normal(0, 2, second)
    oracle = stats.ttest_ind(a, b, equal_var=False)
    found = welch_test(a, b)
    assert found is not None
    (low, high), p_value = found
    assert p_value >= oracle.pvalue - 1e-9
    assert p_value == pytest.approx(stats.t.sf(abs(oracle.statistic), int(oracle.df)) * 2, abs=1e-9)
    expected = oracle.confidence_interval()
    assert low <= expected.low + 1e-3
    assert high >= expected.high - 1e-3


def test_unpaired_values_that_are_too_few_or_never_vary_are_not_judged() -> None:
    assert welch_test([1.0], [1.0, 2.0]) is None
    assert welch_test([1.0, 1.0], [2.0, 2.0]) is None


def test_draws_on_one_side_of_zero_are_as_sure_as_their_number_allows() -> None:
    assert bootstrap_p_value(np.full(999, 0.1)) == pytest.approx(0.002)
    assert bootstrap_p_value(np.array([-1.0, 1.0, 0.0])) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_lies_between_none_and_bonferronis_and_keeps_the_order(values: list[float]) -> None:
    corrected = holm(values)
    for value, found in zip(values, corrected, strict=True):
        assert value <= found <= min(1.0, value * len(values)) + 1e-12
    order = np.argsort(values, kind="stable")
    assert all(np.diff(np.array(corrected)[order]) >= 0)
