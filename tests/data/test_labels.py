"""Labels as arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dropkd.data.labels import rows_by_class


@given(st.lists(st.integers(-1, 6), max_size=40), st.integers(0, 7))
def test_rows_of_each_class_are_those_that_a_look_at_each_class_finds(targets: list[int], classes: int) -> None:
    array = np.array(targets, np.int64)
    found = rows_by_class(array, classes)
    assert [rows.tolist() for rows in found] == [np.flatnonzero(array == k).tolist() for k in range(classes)]
