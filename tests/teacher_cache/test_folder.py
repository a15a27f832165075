"""A cache on disk: whole or not there, never wrong, mended where it is damaged."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dropkd.contracts import Outputs
from dropkd.errors import DataError
from dropkd.teacher_cache import (
    CacheFolder,
    CacheFullError,
    CacheKey,
    CacheReader,
    Encoding,
    Part,
    Questions,
    build_cache,
    build_shard,
    cache_root,
    folder,
    list_caches,
)

ROWS = 23
KEY = CacheKey({"teacher": {"weights": "abc", "name": "vit"}, "seed": 0})
PARTS = (
    Part("logits", (5,), Encoding("float32")),
    Part("embedding", (4,), Encoding("float32")),
    Part("map1", (3, 2, 2), Encoding("float32")),
)


def answers(view: int, start: int, stop: int) -> Outputs:
    rows = torch.arange(start, stop, dtype=torch.float32)[:, None]
    number = view * 1000 + rows
    # Two maps, of which only the second is kept.
    maps = (torch.zeros(len(rows), 1, 4, 4), number[:, :, None, None] + torch.arange(12.0).view(1, 3, 2, 2))
    return Outputs(number + torch.arange(5) / 8, maps, number - torch.arange(4))


def ask(view: int, start: int, stop: int) -> Iterator[Outputs]:
    for first in range(start, stop, 3):
        yield answers(view, first, min(first + 3, stop))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CacheFolder:
    """An empty cache whose shards hold 7 rows."""
    monkeypatch.setattr(folder, "_SHARD_BYTES", 7 * sum(part.bytes_per_image for part in PARTS))
    return CacheFolder.create(tmp_path, KEY, PARTS, rows=ROWS, labels={"teacher": "vit", "data": "photos"})


def assert_right(reader: CacheReader, rows: list[int], view: int) -> None:
    found = reader.read(np.array(rows), view)
    expected = [answers(view, row, row + 1) for row in rows]
    assert torch.equal(found.logits, torch.cat([e.logits for e in expected]))
    assert torch.equal(found.embedding, torch.cat([e.embedding for e in expected]))
    assert torch.equal(found.maps[1], torch.cat([e.maps[1] for e in expected]))


def test_what_was_built_is_read_in_any_order(cache: CacheFolder) -> None:
    assert build_cache(cache, 2, Questions(ask)) == 2 * ROWS
    reader = CacheReader(CacheFolder(cache.path), template=answers(0, 0, 1))
    assert_right(reader, [22, 0, 6, 7, 7, 13], 1)
    assert_right(reader, list(range(ROWS)), 0)
    assert reader.read(np.array([3]), 0).maps[0].numel() == 0


def test_nothing_is_computed_twice_and_more_views_are_added_to_those_that_are_there(cache: CacheFolder) -> None:
    build_cache(cache, 1, Questions(ask))
    asked = []

    def count(view: int, start: int, stop: int) -> Iterator[Outputs]:
        asked.append((view, start, stop))
        return ask(view, start, stop)

    assert build_cache(cache, 1, Questions(count)) == 0
    assert asked == []
    assert build_cache(cache, 2, Questions(count)) == ROWS
    assert asked == [(1, 0, 7), (1, 7, 14), (1, 14, 21), (1, 21, 23)]
    assert cache.views() == 2


def test_progress_is_told_in_rows(cache: CacheFolder) -> None:
    seen = []
    build_cache(cache, 1, Questions(ask), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(7, 23), (14, 23), (21, 23), (23, 23)]


def test_a_flipped_byte_is_found_wherever_it_is_and_the_shard_is_computed_anew(cache: CacheFolder) -> None:
    build_cache(cache, 1, Questions(ask))
    path = cache.path / cache.shards(0)[1].file
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(DataError, match="damaged"):
            CacheReader(cache, template=answers(0, 0, 1)).read(np.array([8]), 0)
    mended = []

    def mend(shard: folder.Shard) -> None:
        mended.append(shard.number)
        build_shard(cache, shard, Questions(ask))

    assert_right(CacheReader(cache, mend=mend, template=answers(0, 0, 1)), list(range(ROWS)), 0)
    assert mended == [1]


def test_a_shard_that_was_cut_short_or_removed_is_computed_anew(cache: CacheFolder) -> None:
    build_cache(cache, 1, Questions(ask))
    first, second = (cache.path / shard.file for shard in cache.shards(0)[:2])
    first.write_bytes(first.read_bytes()[:-30])
    second.unlink()
    assert [s.number for s in cache.missing(1)] == [1]
    reader = CacheReader(cache, mend=lambda shard: build_shard(cache, shard, Questions(ask)), template=answers(0, 0, 1))
    assert_right(reader, list(range(ROWS)), 0)


def test_a_full_disk_is_said_and_leaves_what_was_written_right(
    cache: CacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = folder.write_shard

    def fill_up(path: Path, columns: dict[str, torch.Tensor]) -> None:
        written(path, columns)
        if path.name.startswith("000002"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder, "write_shard", fill_up)
    with pytest.raises(CacheFullError, match=r"No space is left for the teacher cache.*dropkd cache prune"):
        build_cache(cache, 1, Questions(ask))
    assert list(cache.path.rglob("*.part")) == []
    assert [s.number for s in cache.missing(1)] == [2, 3]
    monkeypatch.setattr(folder, "write_shard", written)
    build_cache(cache, 1, Questions(ask))
    assert_right(CacheReader(cache, template=answers(0, 0, 1)), list(range(ROWS)), 0)


def _ask_slowly(view: int, start: int, stop: int) -> Iterator[Outputs]:
    for answer in ask(view, start, stop):
        time.sleep(0.02)
        yield answer


def _build(path: Path, views: int) -> None:
    torch.set_num_threads(1)
    build_cache(CacheFolder(path), views, Questions(_ask_slowly))


def test_a_builder_that_is_killed_leaves_nothing_wrong_and_another_goes_on(cache: CacheFolder) -> None:
    context = multiprocessing.get_context("spawn")
    builder = context.Process(target=_build, args=(cache.path, 40))
    builder.start()
    while len(cache.known()) < 3:
        time.sleep(0.01)
        assert builder.is_alive()
    os.kill(builder.pid or 0, signal.SIGKILL)
    builder.join()
    known = len(cache.known())
    # Half a line, as a power cut leaves it.
    with (cache.path / "shards.jsonl").open("a") as index:
        index.write('\n{"view": 0, "sh')
    assert build_cache(cache, 3, Questions(ask)) <= 3 * ROWS - 7 * (min(known, 12) - 1)
    for view in range(3):
        assert_right(CacheReader(cache, template=answers(0, 0, 1)), list(range(ROWS)), view)


def test_two_builders_share_the_work_without_harm(cache: CacheFolder) -> None:
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=_build, args=(cache.path, 2)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0]
    records = [json.loads(line) for line in (cache.path / "shards.jsonl").read_text().splitlines() if line]
    assert sorted((r["view"], r["shard"]) for r in records) == [(v, s) for v in range(2) for s in range(4)]
    assert_right(CacheReader(cache, template=answers(0, 0, 1)), list(range(ROWS)), 1)


def test_a_builder_that_shall_not_wait_is_told_that_another_is_at_work(cache: CacheFolder) -> None:
    other = CacheFolder(cache.path)
    with cache.building(), pytest.raises(TimeoutError, match="Another process is building"), other.building(patience=0):
        pass


def test_rows_that_are_computed_together_are_not_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_SHARD_BYTES", 10 * sum(part.bytes_per_image for part in PARTS))
    whole = CacheFolder.create(tmp_path, KEY, PARTS, rows=ROWS, step=4, labels={})
    assert [shard.start for shard in whole.shards(0)] == [0, 8, 16]


def test_caches_are_listed_newest_first_and_what_is_damaged_is_passed_over(tmp_path: Path) -> None:
    first = CacheFolder.create(tmp_path, KEY, PARTS, rows=ROWS, labels={})
    second = CacheFolder.create(tmp_path, CacheKey({"seed": 1}), PARTS, rows=ROWS, labels={})
    assert {cache.path for cache in list_caches(tmp_path)} == {first.path, second.path}
    (first.path / "cache.json").write_text("{")
    assert [cache.path for cache in list_caches(tmp_path)] == [second.path]
    with pytest.raises(DataError, match="is no teacher cache"):
        CacheFolder(first.path)


def test_a_cache_of_a_later_format_is_not_read(cache: CacheFolder) -> None:
    meta = json.loads((cache.path / "cache.json").read_text())
    (cache.path / "cache.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(DataError, match="is of format 99"):
        CacheFolder(cache.path)


def test_the_same_key_is_the_same_folder(cache: CacheFolder) -> None:
    again = CacheFolder.create(cache.path.parent, KEY, PARTS, rows=ROWS, labels={})
    assert again.path == cache.path
    assert again.created == cache.created


def test_differences_of_keys_are_named_to_the_part_that_differs() -> None:
    other = CacheKey({"teacher": {"weights": "xyz", "name": "vit"}, "seed": 0, "precision": "bf16"})
    assert KEY.differences(other) == ["precision", "teacher.weights"]
    far = CacheKey({})
    assert KEY.nearest([far, other]) is other
    assert KEY.nearest([]) is None


def test_the_caches_place_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DROPKD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "dropkd" / "teachers"
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own" / "teachers"
    assert cache_root(tmp_path / "given") == tmp_path / "given"
