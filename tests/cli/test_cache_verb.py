"""``dropkd cache``, as it is typed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.teacher_cache import CacheFolder, list_caches

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cache(cli: Cli, photos: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch) -> CacheFolder:
    """A cache of two views that the command line built, in the folder ``caches``."""
    monkeypatch.setenv("DROPKD_CACHE", "caches")
    code, shown, said = cli(
        "cache", "build", photos, "-t", teacher_run, "--student", "cifar_resnet8", "--views", 2, "--method", "kd"
    )
    assert code == 0, said
    (built,) = list_caches(Path("caches/teachers"))
    assert built.path.name in shown
    return built


def test_what_was_built_is_what_distilling_reads(cli: Cli, cache: CacheFolder, photos: Path, teacher_run: Path) -> None:
    before = (cache.path / "shards.jsonl").read_bytes()
    code, shown, said = cli(
        "distill", photos, "-t", teacher_run, "--student", "cifar_resnet8", "--method", "kd", "--views", 2,
        "--epochs", 3, "--output", "run",
    )  # fmt: skip
    assert code == 0, said
    assert "Teacher cache: there already" in " ".join(shown.split())
    assert (cache.path / "shards.jsonl").read_bytes() == before
    assert cache.views() == 2


def test_caches_are_listed_and_described(cli: Cli, cache: CacheFolder) -> None:
    code, shown, _ = cli("cache", "list", "--json")
    (listed,) = json.loads(shown)
    assert code == 0
    assert (listed["views"], listed["rows"], listed["method"]) == (2, cache.rows, "kd")
    code, shown, _ = cli("cache", "info", cache.path.name[:6])
    assert code == 0
    assert "2 distinct views" in " ".join(shown.split())
    code, shown, _ = cli("cache", "info", cache.path.name, "--json")
    assert json.loads(shown)["bytes_per_row"] == 3 * 2


def test_damage_is_found_named_and_removed(cli: Cli, cache: CacheFolder) -> None:
    assert cli("cache", "verify")[0] == 0
    path = cache.path / cache.shards(1)[0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, shown, _ = cli("cache", "verify", cache.path.name)
    assert code == 2
    assert str(path) in shown.replace("\n", "")
    assert cli("cache", "verify", "--remove")[0] == 0
    assert not path.exists()
    assert len(cache.missing(2)) == 1


def test_caches_are_removed_by_name_by_age_and_by_size(cli: Cli, cache: CacheFolder) -> None:
    assert "Nothing to remove" in cli("cache", "prune", "--unused-days", "1")[1]
    assert "Nothing to remove" in cli("cache", "prune", "--max-size", "1GB")[1]
    long_ago = time.time() - 40 * 86_400
    os.utime(cache.path / "cache.json", (long_ago, long_ago))
    code, shown, _ = cli("cache", "prune", "--unused-days", "30", "--dry-run")
    assert code == 0
    assert "would remove" in shown
    assert cache.path.is_dir()
    assert cli("cache", "prune", "--max-size", "100B")[0] == 0
    assert not cache.path.exists()


def test_bad_input_is_answered_in_words(cli: Cli, cache: CacheFolder, photos: Path, teacher_run: Path) -> None:
    code, _, said = cli("cache", "prune")
    assert code == 2
    assert "Say which caches" in said
    code, _, said = cli("cache", "info", "zzz")
    assert code == 2
    assert "There is no teacher cache 'zzz'" in said
    code, _, said = cli("cache", "prune", "--max-size", "much")
    assert code == 2
    assert "a size such as 500MB" in said
    code, _, said = cli("cache", "build", photos, "--student", "cifar_resnet8")
    assert code == 2
    assert "--teacher is missing" in said
    code, _, said = cli("cache", "build", photos, "-t", teacher_run, "--student", "cifar_resnet8", "--method", "plain")
    assert code == 2
    assert "asks no teacher" in said
