"""A cache serves every need that it covers, and what is read of it is what the need's own cache would have held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dropkd.contracts import Outputs
from dropkd.errors import DataError
from dropkd.teacher_cache import (
    CacheFolder,
    CacheKey,
    CacheReader,
    Encoding,
    JointReader,
    Part,
    Questions,
    build_cache,
    choose_sources,
)
from dropkd.teacher_cache.covering import find_cover, fit_to_need, name_shortcomings, unite_parts
from dropkd.teacher_cache.encoding import decode_part, encode_part

KEY = CacheKey({"teacher": {"weights": "abc"}, "seed": 0})
OWN = (12, 12)
GRIDS = st.sampled_from([None, (12, 12), (6, 6), (3, 3), (4, 4), (5, 5), (6, 4), (1, 1), (12, 3)])
MAPS = st.builds(
    lambda number, grid: Part("map0", (3, *OWN), Encoding(number, None if grid == OWN else grid)),
    st.sampled_from(["float32", "float16", "int8"]),
    GRIDS,
)
LOGITS = st.builds(
    lambda number, top: Part("logits", (9,), Encoding(number, top=top)),
    st.sampled_from(["float32", "float16"]),
    st.sampled_from([None, 1, 4, 8]),
)


def keep(part: Part, values: torch.Tensor) -> torch.Tensor:
    return decode_part(part, encode_part(part, values, {}), {})


@given(st.lists(MAPS, min_size=1, max_size=4), st.lists(LOGITS, max_size=3))
@settings(max_examples=200, deadline=None)
def test_the_union_of_needs_covers_each_of_them(maps: list[Part], logits: list[Part]) -> None:
    united = unite_parts([[part] for part in (*maps, *logits)])
    assert name_shortcomings(united, [*maps, *logits]) == []
    assert len(united) == len({part.name for part in (*maps, *logits)})
    # Nothing is kept in more digits, at a larger grid or in more logits than it has to be for one of them.
    if len({part.encoding for part in maps}) == 1:
        assert united[0] == maps[0]


@given(MAPS, MAPS)
@settings(max_examples=200, deadline=None)
def test_a_map_read_from_a_cover_is_the_map_that_would_have_been_kept(kept: Part, need: Part) -> None:
    assume(find_cover([kept], need) is not None)
    values = torch.randn(2, 3, *OWN, generator=torch.Generator().manual_seed(0))
    found, expected = fit_to_need(kept, need, keep(kept, values)), keep(need, values)
    assert found.shape == expected.shape
    if kept.encoding.number == "float32" and kept.encoding.grid is None:
        assert torch.equal(found, expected)
    coarse = "int8" in (kept.encoding.number, need.encoding.number)
    torch.testing.assert_close(found, expected, atol=5e-2 if coarse else 2e-3, rtol=1e-2)


@given(LOGITS, LOGITS)
@settings(max_examples=100, deadline=None)
def test_logits_read_from_a_cover_are_those_that_would_have_been_kept(kept: Part, need: Part) -> None:
    assume(find_cover([kept], need) is not None)
    values = 3 * torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    found, expected = fit_to_need(kept, need, keep(kept, values)), keep(need, values)
    # Logits mean the same whatever is added to all of them.
    torch.testing.assert_close(found.softmax(1), expected.softmax(1), atol=3e-3, rtol=1e-2)


def pooled(*grid: int) -> Part:
    return Part("map0", (3, *OWN), Encoding(grid=(grid[0], grid[1])))


@pytest.mark.parametrize(
    ("kept", "need", "names"),
    [
        (pooled(6, 6), Part("map0", (3, *OWN)), ["map0.grid"]),
        (pooled(6, 6), pooled(4, 4), ["map0.grid"]),
        # 12 has no 10 whole parts, so pooling twice is not pooling once.
        (pooled(10, 10), pooled(5, 5), ["map0.grid"]),
        (Part("map0", (3, *OWN), Encoding("int8")), Part("map0", (3, *OWN)), ["map0.number"]),
        (Part("map0", (3, *OWN)), Part("map0", (3, *OWN), Encoding(channels=2)), ["map0.channels"]),
        (Part("map0", (4, *OWN)), Part("map0", (3, *OWN)), ["map0.shape"]),
        (Part("logits", (9,), Encoding(top=3)), Part("logits", (9,), Encoding(top=4)), ["logits.top"]),
        (Part("logits", (9,)), Part("embedding", (5,)), ["embedding.shape", "embedding.number"]),
        (Part("logits", (9,), Encoding("float32")), Part("logits", (9,), Encoding(top=4)), []),
        (pooled(6, 6), pooled(3, 2), []),
    ],
)
def test_what_falls_short_is_named(kept: Part, need: Part, names: list[str]) -> None:
    assert name_shortcomings([kept], [need]) == names
    assert (find_cover([kept], need) is None) == bool(names)


LOGIT, EMBEDDING, MAP = Part("logits", (5,)), Part("embedding", (4,)), Part("map0", (3, 4, 4))


def answers(view: int, start: int, stop: int) -> Outputs:
    number = view * 100 + torch.arange(start, stop, dtype=torch.float32)[:, None]
    grid = number[:, :, None, None] + torch.arange(48.0).view(1, 3, 4, 4)
    return Outputs(number + torch.arange(5), (grid,), number - torch.arange(4))


QUESTIONS = Questions(lambda view, start, stop: iter([answers(view, start, stop)]))


def make(root: Path, parts: tuple[Part, ...], views: int) -> CacheFolder:
    cache = CacheFolder.create(root, KEY, parts, rows=10, labels={})
    build_cache(cache, views, QUESTIONS)
    return cache


def test_a_cache_of_more_than_is_needed_serves_it(tmp_path: Path) -> None:
    cache = make(tmp_path, (LOGIT, EMBEDDING, MAP), 2)
    need = Part("map0", (3, 4, 4), Encoding(grid=(2, 2)))
    choice = choose_sources([cache], [LOGIT, need], 2)
    (source,) = choice.whole
    assert (source.cache, source.needs, choice.rest) == (cache, (LOGIT, need), ())
    found = CacheReader(cache, template=answers(0, 0, 1), needs=source.needs).read(np.array([3, 9]), 1)
    expected = torch.cat([answers(1, row, row + 1).maps[0] for row in (3, 9)])
    assert torch.equal(found.maps[0], torch.nn.functional.adaptive_avg_pool2d(expected, 2).half().float())
    # What was not asked for is not read.
    assert found.embedding.numel() == 0


def test_what_no_cache_has_is_kept_beside_what_is_there(tmp_path: Path) -> None:
    first = make(tmp_path, (LOGIT,), 2)
    choice = choose_sources([first], [LOGIT, MAP], 2)
    assert [source.needs for source in choice.whole] == [(LOGIT,)]
    assert (choice.rest, choice.partial) == ((MAP,), None)
    second = make(tmp_path, choice.rest, 2)
    both = choose_sources([first, second], [LOGIT, MAP], 2)
    readers = [CacheReader(s.cache, template=answers(0, 0, 1), needs=s.needs) for s in both.whole]
    found = JointReader(readers, answers(0, 0, 1)).read(np.array([7]), 0)
    assert torch.equal(found.logits, answers(0, 7, 8).logits)
    assert torch.equal(found.maps[0], answers(0, 7, 8).maps[0])


def test_one_cache_with_everything_is_preferred_to_several(tmp_path: Path) -> None:
    parts = [make(tmp_path, (part,), 1) for part in (LOGIT, MAP)]
    whole = make(tmp_path, (LOGIT, MAP), 1)
    choice = choose_sources([*parts, whole], [LOGIT, MAP], 1)
    assert [source.cache for source in choice.whole] == [whole]


def test_a_cache_with_some_of_the_views_is_gone_on_with(tmp_path: Path) -> None:
    some = make(tmp_path, (LOGIT, EMBEDDING), 2)
    choice = choose_sources([some], [LOGIT, EMBEDDING], 5)
    assert (choice.partial, choice.views, choice.rest) == (some, 2, (LOGIT, EMBEDDING))


def test_no_teacher_is_asked_twice_about_a_view_that_two_caches_lack(tmp_path: Path) -> None:
    logits, maps = make(tmp_path, (LOGIT,), 2), make(tmp_path, (MAP,), 2)
    choice = choose_sources([logits, maps], [LOGIT, MAP], 3)
    # Completing both would ask about the third view twice.
    assert (choice.whole, choice.partial, choice.rest) == ((), None, (LOGIT, MAP))


@pytest.mark.parametrize(("views", "goes_on"), [(1, False), (5, True)])
def test_a_cache_of_far_more_is_completed_only_where_most_of_it_is_there(
    tmp_path: Path, views: int, goes_on: bool
) -> None:
    large = make(tmp_path, (LOGIT, MAP), views)
    choice = choose_sources([large], [LOGIT], 8)
    assert choice.partial is (large if goes_on else None)


def test_a_reader_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold what is to be read"):
        CacheReader(make(tmp_path, (LOGIT,), 1), template=answers(0, 0, 1), needs=(MAP,))


def test_a_folder_of_an_earlier_version_which_had_its_parts_in_the_key_is_found_and_read(tmp_path: Path) -> None:
    cache = make(tmp_path, (LOGIT, MAP), 1)
    meta = cache.path / "cache.json"
    text = meta.read_text()
    meta.write_text(text.replace('"seed": 0', '"seed": 0, "kept": {"logits": {"shape": [5], "number": "float16"}}'))
    assert meta.read_text() != text
    again = CacheFolder(cache.path)
    assert again.key.digest == KEY.digest
    assert choose_sources([again], [LOGIT], 1).rest == ()
