"""Shards behind URLs, from a server that may be slow to come to itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.data import EvalLoader, Recipe, TrainLoader, fetching, open_data
from dropkd.data.nearness import find_nearness, permute_near
from dropkd.data.shard_cache import ShardCache
from dropkd.errors import ConfigError, DataError, DropKDError

from .shard_server import Server, serving
from .shard_writing import numbered, write_shard


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetching, "_PAUSES", (0.001, 0.001, 0.001))
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as here:
        yield here


def serve(server: Server, shards: int = 3, each: int = 8) -> str:
    for k in range(shards):
        write_shard(server.folder / f"train-{k:02}.tar", numbered(each * k, each))
    write_shard(server.folder / "val-00.tar", numbered(1000, 4))
    return f"wds:{server.url}/{{train-{{00..{shards - 1:02}}},val-00}}.tar"


def refuse(text: str, error: type[DropKDError] = DataError) -> str:
    with pytest.raises(error) as caught:
        open_data(text)
    return str(caught.value)


def gigabytes(*paths: Path) -> float:
    return sum(path.stat().st_size for path in paths) / 1e9


def test_shards_behind_urls_are_the_same_data_as_on_this_machine(server: Server) -> None:
    text = serve(server)
    there, here = open_data(text), open_data(server.folder)
    assert there.train.relative_paths == here.train.relative_paths
    assert there.train.fingerprint() == here.train.fingerprint()
    assert there.classes == here.classes
    assert (there.native_size, there.uniform) == (here.native_size, here.uniform)
    options = {"size": (6, 6), "recipe": Recipe("shift"), "batch_size": 5, "seed": 3}
    expected = list(TrainLoader(here.train, **options).epoch(1))
    for workers, start in ((0, 0), (2, 0), (2, 2)):
        found = list(TrainLoader(there.train, workers=workers, **options).epoch(1, start))
        assert all(a.images.equal(b.images) for a, b in zip(expected[start:], found, strict=True))
    assert {name: count for name, count in server.asked.items() if name.endswith(".tar")} == {
        **{f"train-{k:02}.tar": 1 for k in range(3)},
        "val-00.tar": 1,
    }


def test_what_was_listed_once_is_not_fetched_to_be_listed_again(server: Server, tmp_path: Path) -> None:
    text = serve(server)
    first = open_data(text)
    for path in (tmp_path / "kept" / "shards").glob("*.tar"):
        path.unlink()
    before = server.asked.total()
    again = open_data(text)
    assert again.train.fingerprint() == first.train.fingerprint()
    assert server.asked.total() == before
    assert again.train.images.read(0) == first.train.images.read(0)
    assert server.asked.total() == before + 1


def test_a_plain_url_is_known_without_a_scheme(server: Server) -> None:
    write_shard(server.folder / "deep" / "all.tar", numbered(0, 12))
    data = open_data(f"{server.url}/deep/all.tar")
    names = sorted(name for split in data.splits for name in split.relative_paths)
    assert names == [f"all.tar/{i:06}.png" for i in range(12)]


def test_splits_may_be_named_from_the_folder_of_the_url(server: Server) -> None:
    serve(server)
    data = open_data(f"wds:{server.url}?train=train-{{00..02}}.tar&test=val-00.tar", validation_fraction=0.25)
    assert {split.name: len(split) for split in data.splits} == {"train": 18, "val": 6, "test": 4}


@pytest.mark.parametrize("status", [503, 429, 500, 0])
def test_a_server_that_fails_twice_is_asked_a_third_time(server: Server, status: int) -> None:
    text = serve(server)
    server.failures["train-01.tar"] = [status, status]
    assert len(open_data(text).train) == 24
    assert server.asked["train-01.tar"] == 3


@pytest.mark.parametrize(
    ("status", "tries", "message"),
    [
        (503, 4, "the server answered 503 Service Unavailable (4 tries)"),
        (0, 4, "bytes (4 tries)"),
        (404, 1, "the server answered 404 Not Found. Look for a slip in the name."),
        (401, 1, "the server answered 401 Unauthorized. It asks who you are."),
    ],
)
def test_a_server_that_goes_on_failing_is_told_with_the_url(
    server: Server, tmp_path: Path, status: int, tries: int, message: str
) -> None:
    text = serve(server)
    server.failures["train-01.tar"] = [status] * 10
    said = refuse(text)
    assert said.startswith(f"can't fetch {server.url}/train-01.tar: ")
    assert message in said
    assert "bring the shards to this machine by other means and name them by their path" in said
    assert server.asked["train-01.tar"] == tries
    assert not list((tmp_path / "kept" / "shards").glob("*.part"))


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    said = refuse("wds:http://127.0.0.1:9/a.tar")
    assert said.startswith("can't fetch http://127.0.0.1:9/a.tar: no answer (")
    assert "(4 tries)" in said


def test_a_shard_that_is_truncated_where_it_lies_is_told(server: Server) -> None:
    text = serve(server)
    path = server.folder / "train-02.tar"
    path.write_bytes(path.read_bytes()[:5000])
    assert "train-02.tar is truncated after 5,000 bytes" in refuse(text)
    assert len(open_data(text, skip_unreadable=True).train) > 16


def test_an_image_that_can_not_be_decoded_is_told_each_time(server: Server) -> None:
    write_shard(server.folder / "all.tar", [*numbered(0, 12), ("bad", {"png": b"no image", "cls": "1"})])
    for _ in range(2):
        assert "all.tar/bad.png: not an image that can be recognised" in refuse(f"{server.url}/all.tar")
    assert sum(len(s) for s in open_data(f"{server.url}/all.tar", skip_unreadable=True).splits) == 12


def test_a_shard_that_changed_since_it_was_listed_is_refused(server: Server, tmp_path: Path) -> None:
    text = serve(server)
    data = open_data(text)
    for path in (tmp_path / "kept" / "shards").glob("*.tar"):
        path.unlink()
    write_shard(server.folder / "train-00.tar", numbered(500, 8))
    with pytest.raises(DataError, match=r"train-00\.tar is no longer the file whose images were listed"):
        data.train.images.read(0)


def test_the_cache_stays_within_its_limit_and_each_shard_is_fetched_about_once(server: Server, tmp_path: Path) -> None:
    shards, each = 12, 8
    text = serve(server, shards, each)
    size = (server.folder / "train-00.tar").stat().st_size
    # Five shards fit, so that the images of two are mixed.
    text += f"?cache_gb={5.2 * size / 1e9}"
    held = tmp_path / "kept" / "shards"
    data = open_data(text)
    near = find_nearness(data.train.store)
    assert near is not None
    assert near.window == 2
    whole = open_data(server.folder)
    assert sorted(data.train.relative_paths) == sorted(whole.train.relative_paths)
    server.asked.clear()
    for workers in (0, 2):
        loader = TrainLoader(
            data.train, size=(6, 6), recipe=Recipe("centre", flip=False), batch_size=4, seed=1, workers=workers
        )
        epochs = [list(loader.epoch(epoch)) for epoch in range(2)]
        for batches in epochs:
            shown = [int(i) for batch in batches for i in batch.index]
            assert sorted(shown) == list(range(shards * each))
            assert sum(path.stat().st_size for path in held.glob("*.tar")) <= 5.2 * size
        assert not all(a.index.equal(b.index) for a, b in zip(*epochs, strict=True))
        again = list(loader.epoch(1, 5))
        assert all(a.images.equal(b.images) for a, b in zip(epochs[1][5:], again, strict=True))
    fetched = server.asked.total()
    # Two and a half epochs, twice; what is there already is not fetched.
    assert fetched <= 2 * 2.5 * shards * 1.2
    server.asked.clear()
    frames = list(EvalLoader(data.train, size=(6, 6), batch_size=4, workers=2))
    assert torch_cat([f.index for f in frames]) == list(range(shards * each))
    assert server.asked.total() <= shards


def torch_cat(parts: list[Any]) -> list[int]:
    return [int(i) for part in parts for i in part]


def test_the_same_pixels_come_whatever_the_cache_holds(server: Server) -> None:
    text = serve(server, 6)
    size = (server.folder / "train-00.tar").stat().st_size
    options = {"size": (6, 6), "recipe": Recipe("resized"), "batch_size": 4, "seed": 1}
    tight, wide = open_data(f"{text}?cache_gb={3 * size / 1e9}"), open_data(f"{text}?cache_gb=1&cache=other")

    def by_path(split: Any, workers: int) -> dict[str, list[float]]:
        frames = list(EvalLoader(split, size=(6, 6), batch_size=4, workers=workers))
        return {
            split.relative_paths[int(i)]: x.tolist() for f in frames for i, x in zip(f.index, f.images, strict=True)
        }

    assert by_path(tight.train, 2) == by_path(wide.train, 0)
    first = [b.images for b in TrainLoader(tight.train, workers=2, **options).epoch(3)]
    again = [b.images for b in TrainLoader(tight.train, workers=0, **options).epoch(3)]
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ("cache_gb=0", ConfigError, "cache_gb must be a number of gigabytes above 0, got '0'"),
        ("cache_gb=many", ConfigError, "cache_gb must be a number of gigabytes above 0, got 'many'"),
        ("cache_gb=0.000045", ConfigError, "do not fit into the cache of 4.5e-05 GB. Raise ?cache_gb= to"),
        ("cache_gb=0.000001", DataError, "more than may be kept, 1,000. Raise ?cache_gb="),
    ],
)
def test_a_cache_that_is_too_small_is_refused(
    server: Server, options: str, error: type[DropKDError], message: str
) -> None:
    assert message in refuse(f"{serve(server)}?{options}", error)


def test_a_cache_that_can_not_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refuse(f"{serve(server)}?cache={tmp_path}/file/below")
    assert "can't keep" in said
    assert "Choose another folder: ?cache=FOLDER, or the variable DROPKD_CACHE." in said


def test_threads_and_rivals_fetch_a_shard_once(server: Server, tmp_path: Path) -> None:
    write_shard(server.folder / "one.tar", numbered(0, 4))
    cache = ShardCache(tmp_path / "shared", 10**9)
    contents: list[bytes] = []

    def read() -> None:
        with cache.open(f"{server.url}/one.tar") as file:
            contents.append(file.read())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(contents) == {(server.folder / "one.tar").read_bytes()}
    assert len(contents) == 8
    assert server.asked["one.tar"] == 1


def test_the_shard_that_was_not_used_for_longest_is_dropped(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.data.shard_cache._SECONDS_BETWEEN_USES", -1)
    for name in "abcd":
        write_shard(server.folder / f"{name}.tar", numbered(0, 4))
    size = (server.folder / "a.tar").stat().st_size
    cache = ShardCache(tmp_path / "shared", 3 * size)
    for name in ("a", "b", "c", "a", "d"):
        cache.open(f"{server.url}/{name}.tar").close()
    assert {name for name in "abcd" if cache.place(f"{server.url}/{name}.tar").exists()} == {"a", "c", "d"}


def test_classes_are_named_by_a_file_beside_the_url(server: Server) -> None:
    text = serve(server)
    (server.folder / "labels.txt").write_text("dog\ncat\n")
    assert open_data(text).classes == ("dog", "cat")
    (server.folder / "labels.txt").unlink()
    assert open_data(text).classes == ("dog", "cat")
    assert "can't fetch" in refuse(f"{text}?classes={server.url}/none.txt")


def test_other_places_are_reached_by_fsspec(server: Server, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "all.tar", numbered(0, 12))
    with fsspec.open("memory://bucket/all.tar", "wb") as file:
        file.write(path.read_bytes())
    assert sum(len(split) for split in open_data("wds:memory://bucket/all.tar").splits) == 12
    assert "there is no such file" in refuse("wds:memory://bucket/none.tar")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("wds:s3://bucket/a.tar", DataError, "s3fs"),
        ("wds:nonsense://bucket/a.tar", DataError, "Places that need no more packages are http:// and https://"),
        ("wds:https://host/folder", ConfigError, "A folder behind a URL can't be listed; name its shards: "),
        ("wds:https://host/*.tar", ConfigError, "URLs can't be searched; name the shards by braces"),
        ("wds:https://{a,b}/0.tar", ConfigError, "all shards must come from one server"),
        ("wds:https://host/a.tar.gz", DataError, "is a compressed archive"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused(
    server: Server, text: str, error: type[DropKDError], message: str
) -> None:
    assert message in refuse(text, error)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 12), min_size=1, max_size=200), st.integers(1, 6))
def test_an_order_by_shards_shows_each_image_once_and_few_shards_at_a_time(
    key: int, group: list[int], window: int
) -> None:
    groups = np.array(group)
    order = permute_near(key, groups, window)
    assert sorted(order.tolist()) == list(range(len(group)))
    assert (order == permute_near(key, groups, window)).all()
    met = groups[order].tolist()
    first = {g: met.index(g) for g in set(met)}
    last = {g: len(met) - 1 - met[::-1].index(g) for g in set(met)}
    for place in range(len(met)):
        assert sum(first[g] <= place <= last[g] for g in first) <= window + 1


def test_an_order_by_shards_mixes_the_images_of_a_window() -> None:
    group = np.repeat(np.arange(50), 200)
    order = permute_near(7, group, 10)
    inner = group[order].reshape(-1, 50)[40:-40]
    assert min(len(set(batch.tolist())) for batch in inner) >= 7
    assert (order != permute_near(8, group, 10)).any()
