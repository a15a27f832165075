from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dropkd.data.check import neighbours
from dropkd.data.check.neighbours import count_comparisons, find_neighbours, narrow_radius
from dropkd.data.check.twins import Links, find_groups


def search(queries: NDArray[np.uint64], keys: NDArray[np.uint64], radius: int) -> set[tuple[int, int, int]]:
    found = find_neighbours(queries, keys, radius)
    triples = [triple for a, b, d in found for triple in zip(a.tolist(), b.tolist(), d.tolist(), strict=True)]
    assert len(triples) == len(set(triples))
    return set(triples)


def compare_all(queries: NDArray[np.uint64], keys: NDArray[np.uint64], radius: int) -> set[tuple[int, int, int]]:
    distance = np.bitwise_count(queries[:, None] ^ keys[None]).sum(axis=2)
    return {(int(a), int(b), int(distance[a, b])) for a, b in zip(*np.nonzero(distance <= radius), strict=True)}


def make_hashes(seed: int, count: int, centres: int, flips: int) -> NDArray[np.uint64]:
    """Make hashes that lie in clumps, with repetitions, as those of real images do."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (centres, 256), dtype=np.uint8)[rng.integers(0, centres, count)]
    for row in bits:
        row[rng.integers(0, 256, rng.integers(0, flips + 1))] ^= 1
    return np.packbits(bits, axis=1).view(np.uint64)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 40), st.integers(1, 6), st.integers(0, 60),
    st.integers(0, 40),
)  # fmt: skip
def test_the_search_finds_just_the_pairs_that_comparing_all_finds(
    seed: int, queries: int, keys: int, centres: int, flips: int, radius: int
) -> None:
    left, right = (make_hashes(seed, count, centres, flips) for count in (queries, keys))
    assert search(left, right, radius) == compare_all(left, right, radius)


def test_pairs_that_differ_by_just_the_radius_are_found_wherever_the_bits_lie() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 256, dtype=np.uint8)
    bits = np.stack([base] * 200)
    for row in bits:
        row[rng.permutation(256)[:31]] ^= 1
    left, right = np.packbits(base[None], axis=1).view(np.uint64), np.packbits(bits, axis=1).view(np.uint64)
    assert len(search(left, right, 31)) == 200
    assert search(left, right, 30) == set()


def test_a_crowd_of_equal_hashes_is_searched_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", 100)
    hashes = make_hashes(1, 60, 1, 0)
    pieces = list(find_neighbours(hashes, hashes, 8))
    assert max(len(left) for left, _, _ in pieces) <= 100
    assert sum(len(left) for left, _, _ in pieces) >= 60 * 60


@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20), max_size=4))
def test_groups_hang_together_by_their_pairs_in_whatever_pieces_these_come(
    pieces: list[list[tuple[int, int]]],
) -> None:
    links = Links(31)
    parts = {i: {i} for i in range(31)}
    for pairs in pieces:
        links.join(np.array([a for a, _ in pairs], np.int64), np.array([b for _, b in pairs], np.int64))
        for a, b in pairs:
            joined = parts[a] | parts[b]
            for i in joined:
                parts[i] = joined
    found = [tuple(group) for group in find_groups(links.lowest)]
    assert found == sorted({tuple(sorted(part)) for part in parts.values() if len(part) > 1})


def test_what_the_search_would_compare_is_known_before_and_bounds_its_radius() -> None:
    hashes = make_hashes(0, 50, 1, 0)
    # All 50 share each of the 16 bands; with one bit of a band flipped, none.
    assert count_comparisons(hashes, 15) == count_comparisons(hashes, 24) == 16 * 50 * 50
    spread = make_hashes(0, 400, 3, 40)
    assert count_comparisons(spread, 15) < count_comparisons(spread, 24) < count_comparisons(spread, 40)
    assert narrow_radius(spread, 40, count_comparisons(spread, 40)) == 40
    assert narrow_radius(spread, 40, count_comparisons(spread, 31)) == 31
    assert narrow_radius(spread, 40, 0) == 15
    assert narrow_radius(spread, 7, 0) == 7
