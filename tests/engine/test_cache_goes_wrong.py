"""A teacher's cache that is gone, can't be written or is being built elsewhere costs time, and never the run."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listener

from dropkd import Run, api
from dropkd.config import Config
from dropkd.data import LoadedBatch, TrainLoader
from dropkd.engine.journal import Journal
from dropkd.engine.training import Training
from dropkd.errors import ConfigError, DataError
from dropkd.files import say_bytes
from dropkd.report import write_run_report
from dropkd.teacher_cache import CacheFolder, list_caches

Cached = Callable[..., Config]


class StopError(Exception):
    pass


@pytest.fixture
def cached(configure: Callable[..., Config], tmp_path: Path) -> Cached:
    """Return a configuration with a cache in the folder ``caches``."""

    def make(output: str, method: str = "kd", **changes: Any) -> Config:
        return configure(method, output, **{"cache__mode": "on", "cache__folder": str(tmp_path / "caches")} | changes)

    return make


def losses_of(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]


def after_an_epoch(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> None:
    closed = Training._close_epoch

    def close(self: Training, journal: Journal) -> None:
        closed(self, journal)
        if self.position.epoch == 1:
            deed()

    monkeypatch.setattr(Training, "_close_epoch", close)


def stop() -> None:
    raise StopError


def test_a_cache_that_is_removed_in_the_middle_leaves_the_run_with_the_teacher_itself(
    cached: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.run(cached("whole"))
    assert whole.metrics["teacher_cache"]["to_the_end"]
    # Maps in components need the basis that lies in the folder too.
    after_an_epoch(monkeypatch, lambda: shutil.rmtree(tmp_path / "caches"))
    notes = Listener()
    # What is compared at the start is open already, and stays so.
    run = api.run(cached("robbed", "fitnet", cache__channels=4, cache__compared=0), observer=notes)
    assert run.is_finished
    (said,) = notes.warnings
    assert "has been removed. The run goes on with the teacher itself." in said
    assert not run.metrics["teacher_cache"]["to_the_end"]
    assert not (tmp_path / "caches").exists()


def test_a_run_is_resumed_where_its_cache_was_removed_meanwhile(
    cached: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.run(cached("whole"))
    with monkeypatch.context() as patch:
        after_an_epoch(patch, stop)
        with pytest.raises(StopError):
            api.run(cached("stopped"))
    shutil.rmtree(tmp_path / "caches")
    resumed = api.resume(tmp_path / "stopped")
    np.testing.assert_allclose(losses_of(resumed), losses_of(whole), rtol=1e-6)
    # Unasked, no cache is built for so short a run: the teacher itself answers.
    with monkeypatch.context() as patch:
        after_an_epoch(patch, stop)
        with pytest.raises(StopError):
            api.run(cached("unasked", cache__mode="auto"))
    shutil.rmtree(tmp_path / "caches")
    resumed = api.resume(tmp_path / "unasked")
    assert resumed.metrics["teacher_cache"] is None
    np.testing.assert_allclose(losses_of(resumed), losses_of(whole), rtol=5e-3)


def test_a_run_waits_for_the_builder_of_its_cache_and_says_so(cached: Cached, tmp_path: Path) -> None:
    api.run(cached("whole"))
    (cache,) = list_caches(tmp_path / "caches")
    cache.forget(cache.shards(1)[0])
    at_work = threading.Event()

    def build() -> None:
        with cache.building():
            at_work.set()
            time.sleep(4)

    builder = threading.Thread(target=build)
    builder.start()
    at_work.wait()
    notes = Listener()
    run = api.run(cached("second"), observer=notes)
    builder.join()
    assert f"Another process is building {cache.path.name}: waiting for it." in notes.messages
    assert run.metrics["teacher_cache"]["name"] == cache.path.name
    assert cache.missing(3) == []


def test_a_cache_that_is_whole_is_read_where_nobody_may_write(
    cached: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.run(cached("first"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "caches"))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    notes = Listener()
    second = api.run(cached("second"), observer=notes)
    assert notes.warnings == []
    assert second.metrics["teacher_cache"] == first.metrics["teacher_cache"]
    # What is damaged there can't be mended.
    (cache,) = list_caches(tmp_path / "caches")
    for view in range(3):
        (cache.path / cache.shards(view)[0].file).write_bytes(b"")
    third = api.run(cached("third"), observer=notes)
    assert third.metrics["teacher_cache"] is None
    (said,) = notes.warnings
    assert "Permission denied" in said
    assert said.endswith("The run goes on with the teacher itself.")


def test_a_place_that_cannot_be_written_is_said(cached: Cached, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = {"cache__folder": str(tmp_path / "file" / "caches")}
    notes = Listener()
    assert api.run(cached("run", **nowhere), observer=notes).is_finished
    assert "Choose another place by cache.folder. The run goes on with the teacher itself." in notes.warnings[0]
    with pytest.raises(DataError, match=r"can't be read or written here: .*cache\.folder"):
        api.build_cache(cached("run", **nowhere))


def test_numbers_that_cannot_be_kept_stop_a_run_only_where_a_cache_is_asked_for(
    cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.teacher_cache.encoding._LARGEST_HALF", 1e-6)
    monkeypatch.setattr("dropkd.engine.cache_plan._LEAST_MACS", -1e30)
    monkeypatch.setattr("dropkd.engine.cache_plan._WORTH", -1e9)
    with pytest.raises(ConfigError, match="float16 can't hold"):
        api.run(cached("asked"))
    notes = Listener()
    run = api.run(cached("unasked", cache__mode="auto"), observer=notes)
    assert run.metrics["teacher_cache"] is None
    assert "float16 can't hold" in notes.warnings[0]


def test_reading_a_cache_is_a_use_of_it(cached: Cached, tmp_path: Path) -> None:
    api.run(cached("first"))
    (cache,) = list_caches(tmp_path / "caches")
    os.utime(cache.path / "cache.json", (0, 0))
    api.run(cached("second"))
    assert time.time() - cache.last_used < 60


def test_a_baseline_sees_the_same_views(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, dict[int, torch.Tensor]]] = []
    epoch_of = TrainLoader.epoch

    def epoch(self: TrainLoader, epoch: int, first: int = 0) -> Iterator[LoadedBatch]:
        images: dict[int, torch.Tensor] = {}
        shown.append((epoch, images))
        for batch in epoch_of(self, epoch, first):
            images.update(zip(batch.index.tolist(), batch.images, strict=True))
            yield batch

    monkeypatch.setattr(TrainLoader, "epoch", epoch)
    run = api.run(cached("run", baseline=True, data__distinct_views=2, data__flip=True))
    assert json.loads((run.folder / "baseline" / "metrics.json").read_text())["teacher_cache"] is None
    assert [number for number, _ in shown] == [0, 1, 2, 0, 1, 2]
    alone, taught = shown[:3], shown[3:]
    for (_, first), (_, second) in zip(alone, taught, strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[index], second[index]) for index in first)
    both = alone[0][1].keys() & alone[2][1].keys() & alone[1][1].keys()
    assert all(torch.equal(alone[0][1][index], alone[2][1][index]) for index in both)
    assert not all(torch.equal(alone[0][1][index], alone[1][1][index]) for index in both)


def test_the_record_and_the_page_say_that_answers_came_from_a_cache(cached: Cached, tmp_path: Path) -> None:
    run = api.run(cached("run", "mld", data__distinct_views=2))
    (cache,) = list_caches(tmp_path / "caches")
    # Logits of three classes in float16, of the two views that the method shows of each image.
    expected = {"name": cache.path.name, "views": 2, "bytes_per_image": 12, "to_the_end": True}
    assert run.metrics["teacher_cache"] == expected
    page = (run.folder / "report.html").read_text()
    assert f"from the cache {cache.path.name}, 2 views of each image, 12 bytes a view" in page
    write_run_report(api.run(cached("live", cache__mode="off")).folder)
    assert "from the cache" not in (tmp_path / "live" / "report.html").read_text()


def test_a_dry_run_says_what_a_cache_would_take(cached: Cached, tmp_path: Path) -> None:
    rows = CacheFolder(api.build_cache(cached("run"))).rows
    there = api.dry_run(cached("run")).cache
    assert there == f"there already ({rows} answers of 6 bytes in 3 views, {say_bytes(rows * 18)})."
    shutil.rmtree(tmp_path / "caches")
    asked = api.dry_run(cached("run")).cache
    unasked = api.dry_run(cached("run", cache__mode="auto")).cache
    assert asked is not None
    assert unasked is not None
    assert f"{rows} answers of 6 bytes in 3 views" in asked
    assert asked.endswith("It would be built.")
    assert unasked.endswith("It would not be built without --teacher-cache.")
    assert api.dry_run(cached("run", cache__mode="off")).cache is None
    assert not (tmp_path / "caches").exists()
