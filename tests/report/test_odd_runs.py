"""Runs that are unfinished, half copied, of odd names or of nothing at all: each has a page that says what it is."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

from dropkd.report import write_comparison, write_run_report
from dropkd.report.run_record import read_run

from .label_runs import build_label_run, write_pairs
from .pages import Page
from .run_folders import Recipe, build_run, change_json, write_images

ODD = (
    "quote\"s and 'more'",
    "spaces  in a row",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "red \x1b[31m alert \x07",
    "turned \u202etxet\u202c about",
    "\u05e9\u05dc\u05d5\u05dd",
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "</script><script>alert(2)</script>",
    "&amp; &lt;",
)


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd")
    folders = tuple(name.replace("/", "\u2215") for name in ODD)
    data = write_images(root / 'it\'s "data" \U0001f600', folders, each=4)
    run = build_run(root / "a run & more \U0001f600", data, Recipe(classes=folders, each=4), baseline=True)
    change_json(run / "metrics.json", classes=list(ODD))
    change_json(run / "baseline" / "metrics.json", classes=list(ODD))
    return run


def test_odd_names_of_classes_files_and_folders_are_shown_as_text(odd_run: Path) -> None:
    page = Page(write_run_report(odd_run))
    assert "could not be read" not in page.text
    assert page.source.count("<script") == 1
    assert "img src=x" in page.text
    for part in (
        "quote\"s and 'more'",
        "{{ 7 * 7 }} {% raw %}",
        "</script><script>alert(2)</script>",
        "&amp; &lt;",
        "family",
    ):
        assert part in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.source)
    assert "red \ufffd[31m alert \ufffd" in page.text
    assert "turned \ufffdtxet\ufffd about" in page.text
    assert "\u200d" in page.text


def test_odd_names_break_nothing_in_a_browser(
    browser: Browser, odd_run: Path, check_accessible: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(odd_run, other)
    change_json(other / "metrics.json", seed=1)
    pages = [write_run_report(odd_run), write_comparison([odd_run, other], tmp_path / "com'parison \U0001f600.html")]
    heard: list[str] = []
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    for path in pages:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
        check_accessible(page)
    page.goto(pages[0].as_uri())
    page.get_by_label("Find a class").fill("onerror")
    assert page.locator("#classes-table tbody th").all_inner_texts() == ["<img src=x onerror=alert(1)>"]
    links = page.goto(pages[1].as_uri()) and page.locator("#runs a").evaluate_all("all => all.map(a => a.href)")
    page.goto(links[0])
    assert page.locator("h1").inner_text().startswith("cifar_resnet8")
    assert heard == []
    page.close()


def test_answers_to_other_images_are_not_shown_as_the_run_s_own(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe())
    other = build_run(tmp_path / "other", images, Recipe(each=5))
    shutil.copy(other / "predictions.parquet", run)
    page = Page(write_run_report(run))
    assert (
        "the answers to other images than this run\u2019s test images: 50 instead of 160. Nothing is shown" in page.text
    )
    assert 'id="confusion"' not in page.source
    assert "answers" in page.text.partition("test images right")[0]


def test_answers_of_more_classes_than_the_run_has_are_not_shown(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe())
    change_json(run / "metrics.json", classes=["a", "b", "c"])
    page = Page(write_run_report(run))
    assert "10 classes instead of 3. Nothing is shown of them." in page.text
    assert 'id="confusion"' not in page.source


def test_answers_of_another_number_of_labels_are_not_shown(tmp_path: Path) -> None:
    run = build_label_run(tmp_path / "run", write_pairs(tmp_path / "data"))
    change_json(run / "metrics.json", classes=["a", "b", "c"])
    page = Page(write_run_report(run))
    assert "5 classes instead of 3. Nothing is shown of them." in page.text
    assert 'id="labels"' not in page.source


def test_a_table_of_no_answers_has_a_page(run: Path) -> None:
    empty = pq.read_table(run / "predictions.parquet").slice(0, 0)
    pq.write_table(empty, run / "predictions.parquet")
    page = Page(write_run_report(run))
    assert 'id="confusion"' not in page.source
    assert 'id="figures"' in page.source


def test_a_split_without_images_and_without_figures_has_a_page(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    nothing = dict.fromkeys(metrics["splits"]["test"]) | {"images": 0}
    change_json(run / "metrics.json", splits={"test": nothing, "val": metrics["splits"]["val"]}, last_epoch=None)
    page = Page(write_run_report(run))
    assert "of the 160 validation images right" in page.text
    assert "instead of 0" in page.text


@pytest.mark.parametrize(
    "name", ["metrics.json", "environment.json", "config.yaml", "metrics.jsonl", "predictions.parquet"]
)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe\x00", b'{"splits": 3, "teacher": "x", "classes": 7}']
)
def test_a_file_that_is_half_written_or_of_another_kind_leaves_a_page(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    page = Page(write_run_report(run))
    assert "cifar_resnet8" in page.text
    (run / "baseline" / name).write_bytes(content)
    write_run_report(run)


@pytest.mark.parametrize("damage", [
    {"splits": {"test": {"accuracy": "high", "images": "many"}}}, {"splits": {"test": None}}, {"splits": []},
    {"selected": 4}, {"teacher": []}, {"student": "resnet"}, {"class_counts": 3}, {"classes": {"a": 1}},
    {"classes": [1, None, "c"]}, {"selection_bonus": [1]}, {"seconds": None, "steps": "x"}, {"multi_label": "yes"},
    {"stopped_early": {"epochs": "x"}}, {"teacher_cache": 3}, {"unlabelled": "x"}, {"last_epoch": "x"},
    {"splits": {"test": {"accuracy": 0.5, "images": 160, "intervals": {"accuracy": ["a", None]}, "beside_teacher": 3}}},
], ids=lambda damage: next(iter(damage)))  # fmt: skip
def test_figures_of_another_form_are_left_out_without_an_error(run: Path, damage: dict[str, Any]) -> None:
    change_json(run / "metrics.json", **damage)
    assert "Configuration" in Page(write_run_report(run)).text


def test_a_page_that_is_read_while_it_is_written_again_is_always_whole(run: Path) -> None:
    path = write_run_report(run)
    done = threading.Event()

    def write() -> None:
        for _ in range(6):
            write_run_report(run)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    while not done.is_set():
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        read += 1
    writer.join()
    assert read


def test_a_log_that_grows_line_by_line_has_a_page_at_each_length(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "run", images, Recipe(done=2))
    whole = (run / "metrics.jsonl").read_bytes()
    for share in (0.0, 0.1, 0.333, 0.5, 0.77, 1.0):
        (run / "metrics.jsonl").write_bytes(whole[: int(share * len(whole))])
        text = Page(write_run_report(run)).text
        assert "This run has not finished" in text
        assert read_run(run).status == "unfinished"
