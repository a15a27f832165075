from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dropkd.data.counters import image_keys, permutation, stream_key, uniform

whole_numbers = st.integers(-(2**70), 2**70)


@given(whole_numbers, whole_numbers, st.integers(1, 300))
def test_a_permutation_holds_each_number_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(stream_key(seed, epoch), count)
    assert sorted(order.tolist()) == list(range(count))


@given(st.integers(0, 2**63), st.integers(0, 50), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_a_number_does_not_depend_on_what_else_is_drawn(key: int, column: int, index: list[int]) -> None:
    together = uniform(image_keys(key, np.array(index)), column)
    alone = [uniform(image_keys(key, np.array([i])), column)[0] for i in index]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < 1)).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=10, unique=True))
def test_different_numbers_make_different_keys(parts: list[tuple[int, int]]) -> None:
    assert len({stream_key(*p) for p in parts}) == len(parts)
    assert stream_key(0) != stream_key(0, 0)


def test_numbers_are_spread_evenly_and_columns_are_unrelated() -> None:
    keys = image_keys(stream_key(0, 0), np.arange(20_000))
    columns = np.stack([uniform(keys, c) for c in range(6)])
    # Standard errors at 20,000 draws: 0.002 for the mean, 0.007 for a correlation.
    assert np.abs(columns.mean(1) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(columns) - np.eye(6)).max() < 0.035
    assert np.abs(np.histogram(columns, bins=20, range=(0, 1))[0] / 6000 - 1).max() < 0.06


def test_neighbouring_epochs_give_unrelated_numbers() -> None:
    index = np.arange(20_000)
    first, second = (uniform(image_keys(stream_key(0, epoch), index), 0) for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.035


def test_the_numbers_of_this_release_stay_the_same() -> None:
    # Resumed runs and caches of views rely on them.
    key = stream_key(3, 1, 0)
    assert key == 5073609398470188417
    assert uniform(image_keys(key, np.array([0, 1, 60_000])), 2).tolist() == [
        0.1895031613216912,
        0.39683619242102675,
        0.9112088518959942,
    ]
    assert permutation(key, 8).tolist() == [0, 3, 4, 2, 7, 6, 5, 1]
