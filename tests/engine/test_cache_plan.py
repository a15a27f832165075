"""Whether a cache pays is decided by counted work, which is the same on every machine, and by what it takes on disk."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from dropkd.engine import cache_plan
from dropkd.engine.cache_needs import Needs, unite_needs
from dropkd.engine.cache_plan import CachePlan, plan_for
from dropkd.engine.cache_rows import Rows
from dropkd.engine.observer import Observer
from dropkd.teacher_cache import CacheKey, Encoding, Part

Numbered = namedtuple("Numbered", "count step per_image")
ROWS = cast(Rows, Numbered(1_000, 1, 1))
KEY = CacheKey({"teacher": {"weights": "abc"}, "seed": 0})


def needs(root: Path, **changes: Any) -> Needs:
    base = Needs(root, KEY, (Part("logits", (10,)),), ROWS, views=30, epochs=30, macs=4e9, seconds=0.1)
    return replace(base, **changes)


def plan(root: Path, **changes: Any) -> CachePlan:
    return plan_for(needs(root, **changes), Observer())


@pytest.mark.parametrize("seconds", [1e-6, 0.1, 100.0])
def test_no_clock_decides_whether_it_pays(tmp_path: Path, seconds: float) -> None:
    assert plan(tmp_path, views=8, seconds=seconds).pays
    assert not plan(tmp_path, views=30, seconds=seconds).pays
    assert not plan(tmp_path, views=8, macs=1e6, seconds=seconds).pays


def test_a_view_for_each_epoch_pays_from_the_second_run_on(tmp_path: Path) -> None:
    assert not plan(tmp_path).pays
    (both,) = unite_needs([needs(tmp_path), needs(tmp_path)])
    assert (both.views, both.epochs) == (30, 60)
    assert plan_for(both, Observer()).pays


def test_runs_of_other_views_are_not_united(tmp_path: Path) -> None:
    other = needs(tmp_path, key=CacheKey({**KEY.fields, "seed": 1}))
    assert unite_needs([needs(tmp_path), other]) == [needs(tmp_path), other]


def test_what_would_take_too_much_of_the_disk_does_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = (Part("map0", (1_024, 16, 16), Encoding("float32")),)
    size = plan(tmp_path, views=8, parts=large).bytes
    assert size == 8 * 1_000 * 1_024 * 256 * 4
    for free, pays in ((4 * size, True), (4 * size - 1, False)):
        monkeypatch.setattr(cache_plan, "_free_bytes", lambda root, free=free: free)
        assert plan(tmp_path, views=8, parts=large).pays is pays


def test_the_estimate_is_said_in_time_and_size(tmp_path: Path) -> None:
    assert plan(tmp_path, views=8).describe() == (
        "Teacher cache: 1,000 answers of 20 bytes in 8 views, 160.0 KB. Building it takes about 13 min, asking the "
        "teacher in every step would take 50 min over 30 epochs."
    )
