"""Very many images that are nearly the same: found as one crowd, without comparing each with each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dropkd.data.check import check_data, crowds
from dropkd.data.check.crowds import gather_crowds
from dropkd.data.check.looks import Looks
from dropkd.data.check.subject import Subject
from dropkd.data.check.twins import NearCopies, find_near
from dropkd.data.listing import Listing

FRAMES, OTHERS = 600, 40


def film(seed: int = 0) -> tuple[Looks, Subject]:
    """Make the looks of a film's frames, which differ in up to 8 bits, and of other images, two of them near it."""
    rng = np.random.default_rng(seed)
    count = FRAMES + OTHERS
    bits = rng.integers(0, 2, (count, 256), dtype=np.uint8)
    bits[:FRAMES] = bits[0]
    bits[FRAMES : FRAMES + 2] = bits[0]
    for row in bits[:FRAMES]:
        row[rng.integers(0, 256, 4)] ^= 1
    bits[FRAMES : FRAMES + 2, :16] ^= 1
    looks = Looks(count, True)
    looks.pixels[:] = rng.integers(0, 256, looks.pixels.shape)
    looks.hashes[:] = np.packbits(bits, axis=1).view(np.uint64)[:, None]
    looks.thumbs[:] = rng.integers(0, 256, looks.thumbs.shape[1:])
    split = np.array(["train"] * count)
    split[[3, FRAMES + 1]] = "test"
    pixels, target = np.zeros((count, 1, 1), np.uint8), np.arange(count) % 2
    listing = Listing.of_pixels(Path("film"), ("a", "b"), [("train", pixels, target)])
    return looks, Subject(listing, split)


def groups_of(near: NearCopies) -> list[tuple[int, ...]]:
    return [tuple(group) for group in near.groups]


def test_a_crowd_gives_the_same_groups_as_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, subject = film()
    gathered = find_near(looks, subject, 24)
    assert groups_of(gathered) == [tuple(range(FRAMES + 2))]
    monkeypatch.setattr(crowds, "_CROWD", 10**9)
    assert groups_of(find_near(looks, subject, 24)) == groups_of(gathered)


def test_frames_in_another_split_are_paired_across_it() -> None:
    looks, subject = film()
    codes = subject.split_codes
    across = [pair for pair in find_near(looks, subject, 24).pairs if codes[pair.first] != codes[pair.second]]
    in_test = {i for pair in across for i in (pair.first, pair.second) if codes[i] == codes[3]}
    assert in_test == {3, FRAMES + 1}
    assert all(pair.distance <= 24 for pair in across)


def test_a_crowd_of_like_hashes_whose_pictures_differ_is_none() -> None:
    looks, _ = film()
    looks.thumbs[:] = np.random.default_rng(1).integers(0, 256, looks.thumbs.shape)
    middle: NDArray[np.int64] = gather_crowds(looks.hashes[:, 0], looks.thumbs, looks.colours, 24)
    assert middle.tolist() == list(range(FRAMES + OTHERS))


def test_a_search_that_would_take_too_long_is_narrowed_and_says_so(
    clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.data.check.twins._MOST_COMPARISONS", 1)
    finding = check_data(clothes).find("near-narrowed")
    assert finding is not None
    assert finding.title == "near copies were looked for within 15 bits, not 24"
    assert check_data(clothes, near=10).find("near-narrowed") is None
