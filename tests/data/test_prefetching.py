"""Batches that are made ahead of their use: nothing but their time changes."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.data.prefetching import prefetch


def list_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dropkd-prefetch"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers()))
def test_the_items_come_in_their_order(items: list[int]) -> None:
    assert list(prefetch(iter(items))) == items
    assert not list_threads()


def test_the_next_items_are_made_while_one_is_used() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    items = prefetch(make())
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    # The one that is used, two that wait, and one for which there is no place yet.
    assert made == [0, 1, 2, 3]
    items.close()  # type: ignore[attr-defined]
    assert not list_threads()


def test_an_error_comes_when_its_item_is_due() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    items = prefetch(make())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)
    assert not list_threads()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_dropping_it_in_the_middle_ends_the_thread(taken: int) -> None:
    ended = []

    def make() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            ended.append(True)

    items = prefetch(make())
    for number in range(taken):
        assert next(items) == number
    del items
    gc.collect()
    assert not list_threads()
    # What was never asked for was never begun.
    assert ended == [True] * (taken > 0)
