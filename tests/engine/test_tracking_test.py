"""Test images that are followed without a say: how much picking the epoch on them would have claimed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from dropkd import api
from dropkd.config import Config
from dropkd.engine.journal import read_journal
from dropkd.engine.selection import measure_selection_bonus
from dropkd.errors import ConfigError
from dropkd.files import write_text


def test_following_the_test_images_changes_nothing_and_is_on_record(configure: Callable[..., Config]) -> None:
    blind = api.run(configure("kd", training__epochs=3, output="blind"))
    seeing = api.run(configure("kd", training__epochs=3, training__track_test=True, output="seeing"))
    assert seeing.metrics["splits"] == blind.metrics["splits"]
    assert (seeing.folder / "student.safetensors").read_bytes() == (blind.folder / "student.safetensors").read_bytes()
    assert blind.metrics["selection_bonus"] is None
    followed = [e["test"]["accuracy"] for e in read_journal(seeing.folder / "metrics.jsonl") if e["event"] == "epoch"]
    assert len(followed) == 3
    bonus = seeing.metrics["selection_bonus"]
    kept = seeing.metrics["selected"]["epoch"]
    assert bonus["selected"] == followed[kept] == pytest.approx(seeing.metrics["splits"]["test"]["accuracy"])
    assert bonus["best"] == max(followed)
    assert bonus["bonus"] == max(followed) - followed[kept] >= 0
    page = (seeing.folder / "report.html").read_text()
    assert "test, no part in any choice" in page


def test_the_bonus_is_that_of_the_first_best_epoch() -> None:
    shares = [0.5, 0.7, 0.6, 0.7]
    records = [{"epoch": epoch, "test": {"accuracy": share}} for epoch, share in enumerate(shares)]
    found = measure_selection_bonus(records, 2, multi_label=False)
    assert found is not None
    assert (found["best_epoch"], round(found["bonus"], 6)) == (1, 0.1)
    assert measure_selection_bonus([{"epoch": 0}], 0, multi_label=False) is None


def test_data_without_test_images_cannot_be_followed(
    configure: Callable[..., Config], clothes: Path, tmp_path: Path
) -> None:
    copytree(clothes / "train", tmp_path / "images")
    files = sorted((tmp_path / "images").rglob("*.png"))
    rows = [
        f"{file.relative_to(tmp_path)},{file.parent.name},{'val' if number % 4 == 0 else 'train'}"
        for number, file in enumerate(files)
    ]
    write_text(tmp_path / "list.csv", "\n".join(["path,label,split", *rows]) + "\n")
    config = configure("kd", training__track_test=True, data__path=str(tmp_path / "list.csv"))
    with pytest.raises(ConfigError, match="the data has none"):
        api.run(config)
