from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from dropkd.report.confusion import confusion_counts, worst_pairs
from dropkd.statistics import pairs
from dropkd.statistics.intervals import mean_and_spread, wilson_interval
from dropkd.statistics.pairs import compare_paired, mcnemar_p_value


def test_wilson_interval_agrees_with_its_definition() -> None:
    right, total, z = 1762, 2000, 1.959963984540054
    low, high = wilson_interval(right, total)
    share = right / total
    for bound in (low, high):
        # The bounds are where the score statistic is exactly z.
        assert abs(share - bound) / math.sqrt(bound * (1 - bound) / total) == pytest.approx(z, rel=1e-9)
    assert low < share < high


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (0, 0), (1, 1)])
def test_wilson_interval_stays_within_zero_and_one(right: int, total: int) -> None:
    low, high = wilson_interval(right, total)
    assert 0 <= low < high <= 1


def test_wilson_interval_of_all_right_reaches_exactly_one() -> None:
    assert wilson_interval(7, 7)[1] == 1
    assert wilson_interval(0, 7)[0] == 0


def test_mcnemar_is_exact_for_few_differences() -> None:
    assert mcnemar_p_value(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar_p_value(0, 0) == 1
    assert mcnemar_p_value(5, 5) == 1


def test_mcnemar_does_not_depend_on_which_run_comes_first() -> None:
    assert mcnemar_p_value(30, 12) == mcnemar_p_value(12, 30)


def test_mcnemar_normal_form_meets_the_exact_one_where_they_change_over(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = mcnemar_p_value(530, 470)
    monkeypatch.setattr(pairs, "_EXACT_LIMIT", 0)
    assert mcnemar_p_value(530, 470) == pytest.approx(exact, abs=0.001)


def test_paired_comparison_counts_and_its_interval_holds_the_difference() -> None:
    first = np.array([True] * 80 + [False] * 20)
    second = np.array([True] * 70 + [False] * 10 + [True] * 3 + [False] * 17)
    found = compare_paired(first, second)
    assert (found.images, found.gained, found.lost) == (100, 10, 3)
    assert found.difference == pytest.approx(0.07)
    assert found.interval[0] < 0.07 < found.interval[1]
    assert found.p_value == mcnemar_p_value(10, 3)


def test_paired_interval_covers_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        kind = random.choice(4, size=150, p=[0.7, 0.12, 0.06, 0.12])
        found = compare_paired((kind == 0) | (kind == 1), (kind == 0) | (kind == 2))
        covered += found.interval[0] <= 0.06 <= found.interval[1]
    assert 0.92 <= covered / 400 <= 0.98


def test_identical_answers_show_no_difference() -> None:
    right = np.array([True, False, True])
    found = compare_paired(right, right)
    assert found.difference == 0
    assert found.interval[0] < 0 < found.interval[1]
    assert found.p_value == 1


def test_spread_over_three_seeds_uses_student_t() -> None:
    found = mean_and_spread([0.80, 0.82, 0.84])
    assert found.mean == pytest.approx(0.82)
    assert found.deviation == pytest.approx(0.02)
    assert found.interval is not None
    assert found.interval[1] - found.mean == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=1e-3)


def test_spread_of_one_seed_claims_nothing() -> None:
    found = mean_and_spread([0.8])
    assert found.deviation is None
    assert found.interval is None


def test_confusion_counts_equal_those_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    target, prediction = random.integers(0, 7, 300), random.integers(0, 7, 300)
    assert (confusion_counts(target, prediction, 7) == confusion_matrix(target, prediction, labels=range(7))).all()


def test_worst_pairs_name_the_commonest_mistakes_first() -> None:
    target = np.array([0, 0, 0, 1, 1, 2, 2])
    prediction = np.array([1, 1, 0, 0, 1, 1, 2])
    assert worst_pairs(target, prediction, 2) == [(0, 1, 2), (1, 0, 1)]
    assert worst_pairs(target, target, 2) == []
