"""``dropkd data check`` as a user sees it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from dropkd.cli import data as verb
from dropkd.cli.check_tables import print_check
from dropkd.data.check import DEFAULT_NEAR, check_data

Cli = Callable[..., tuple[int, str, str]]


def leak(photos: Path) -> str:
    """Put a training image into the test split and return its name."""
    image = min((photos / "train" / "sandal").iterdir())
    shutil.copy(image, photos / "test" / "sandal" / "copy.png")
    return image.name


def test_data_in_order_exits_with_0_and_tells_its_counts(cli: Cli, photos: Path) -> None:
    code, shown, _ = cli("data", "check", photos)
    assert code == 0
    assert "photos: 96 images of 3 classes" in shown
    assert "│ sandal     │    22 │   2 │    8 │" in shown
    assert "│ all        │    66 │   6 │   24 │" in shown
    assert "0 errors, 0 warnings" in shown


def test_a_leak_exits_with_2_and_is_told_before_warnings(cli: Cli, photos: Path) -> None:
    name = leak(photos)
    shutil.copy(photos / "train" / "sandal" / name, photos / "train" / "trouser" / "other.png")
    (photos / "train" / "loose.png").write_bytes(b"x")
    code, shown, _ = cli("data", "check", photos)
    assert code == 2
    assert "error: 1 image there in more than one split" in shown
    assert f"train/sandal/{name} (train, sandal): the same file" in shown
    assert "test/sandal/copy.png (test, sandal)" in shown
    assert shown.index("error: ") < shown.index("warning: ") < shown.index("1 error, ")


def test_warnings_exit_with_2_only_when_strict(cli: Cli, photos: Path) -> None:
    Image.new("RGB", (3, 3)).save(photos / "train" / "sandal" / "tiny.png")
    assert cli("data", "check", photos)[0] == 0
    assert cli("data", "check", photos, "--strict")[0] == 2


def test_json_holds_every_case_and_nothing_else_is_printed(cli: Cli, photos: Path) -> None:
    name = leak(photos)
    code, shown, _ = cli("data", "check", photos, "--json")
    whole = json.loads(shown)
    assert (code, whole["errors"], whole["images"], whole["counts"]["test"]["sandal"]) == (2, 1, 97, 9)
    (found,) = (f for f in whole["findings"] if f["level"] == "error")
    assert found["kind"] == "same-across-splits"
    (item,) = found["items"]
    assert item["distance"] == 0
    assert item["images"] == [
        {"path": f"train/sandal/{name}", "split": "train", "class": "sandal"},
        {"path": "test/sandal/copy.png", "split": "test", "class": "sandal"},
    ]


def test_output_writes_page_json_and_samples(cli: Cli, photos: Path) -> None:
    leak(photos)
    code, shown, _ = cli("data", "check", photos, "--output", "found/here", "--page", "pages/own.html")
    assert code == 2
    assert sorted(path.name for path in Path("found/here").iterdir()) == ["check.html", "check.json", "samples.png"]
    assert json.loads(Path("found/here/check.json").read_text())["errors"] == 1
    with Image.open("found/here/samples.png") as sheet:
        assert sheet.size == (180 + 6 * 76, 3 * 76)
    assert Path("pages/own.html").read_text().startswith("<!doctype html>")
    assert "found/here/check.html" in shown


def test_a_folder_that_is_not_there_exits_with_2_and_a_suggestion(cli: Cli, photos: Path) -> None:
    code, _, told = cli("data", "check", "photo")
    assert code == 2
    assert "does not exist. Did you mean 'photos'?" in told
    assert cli("data", "check", photos, "--near", "300")[0] == 2


def test_the_help_says_what_is_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, shown, _ = cli("data", "check", "--help")
    assert code == 0
    words = " ".join(shown.split())
    assert "Errors, exit code 2:" in words
    assert f"[default: {DEFAULT_NEAR}]" in words
    assert 'pip install "dropkd[check]"' in words


def test_the_default_distance_is_the_checks_own() -> None:
    assert verb._NEAR == DEFAULT_NEAR


def test_it_fits_80_columns_and_marks_what_a_terminal_would_obey(photos: Path) -> None:
    leak(photos)
    folder = photos / "train" / "\x1b[31m"
    folder.mkdir()
    for k in range(30):
        Image.new("RGB", (8 + k, 8)).save(folder / f"[bold]{k}.png")
    console = Console(width=80, record=True, file=io.StringIO())
    print_check(check_data(photos), console, 3)
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    assert "[bold]0.png" in shown


def test_stopping_it_is_quiet(cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dropkd.data.check.looks.look_at_file", interrupt)
    for workers in (1, 2):
        code, shown, told = cli("data", "check", photos, "--workers", workers)
        assert (code, shown, "Traceback" in told) == (130, "", False)
