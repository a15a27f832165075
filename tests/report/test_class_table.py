"""The table of classes: its figures, and how it is sorted and filtered in a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page
from sklearn.metrics import precision_recall_fscore_support

from dropkd.report import write_run_report
from dropkd.report.class_table import tabulate_classes
from dropkd.report.run_record import read_run

MANY = 10_000


def write_answers(
    folder: Path, target: np.ndarray, given: np.ndarray, classes: list[str], paths: list[str] | None = None
) -> Path:
    """Write a run folder that has answers and names of classes, and nothing else."""
    folder.mkdir(parents=True)
    rows = len(target)
    names = paths or [f"test/{k}/{n}.png" for n, k in enumerate(target)]
    table = {"split": ["test"] * rows, "path": names, "target": target, "prediction": given}
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    (folder / "metrics.json").write_text(json.dumps({"classes": classes, "status": "finished"}))
    return folder


def write_many(folder: Path) -> Path:
    random = np.random.default_rng(0)
    target = np.concatenate([np.arange(MANY), random.integers(0, MANY, 50_000)])
    given = np.where(random.random(len(target)) < 0.7, target, random.integers(0, MANY, len(target)))
    return write_answers(folder, target, given, [f"class number {k:05}" for k in range(MANY)])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of ten thousand classes."""
    return write_run_report(write_many(tmp_path_factory.mktemp("many") / "run"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(10_000)
    yield page
    page.close()


def _names(page: Page) -> list[str]:
    return page.locator("#classes-table tbody th").all_inner_texts()


def test_the_figures_of_a_class_are_those_of_scikit_learn(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    target, given = random.integers(0, 7, 300), random.integers(0, 7, 300)
    table = tabulate_classes(read_run(write_answers(tmp_path / "run", target, given, list("abcdefg"))), "test")
    precision, recall, f1, images = precision_recall_fscore_support(target, given)
    found = {row.cells[0]: row.cells for row in table.rows}
    assert list(table.columns[:3]) == ["Class", "Images", "Recall"]
    for k, name in enumerate("abcdefg"):
        cells = [cell.replace("\u00a0", " ") for cell in found[name]]
        expected = [str(images[k]), f"{100 * recall[k]:.1f} %", f"{100 * precision[k]:.1f} %", f"{100 * f1[k]:.1f} %"]
        assert [cells[i] for i in (1, 2, 4, 5)] == expected
    assert [row.recall for row in table.rows] == sorted(recall)


def test_a_class_is_mostly_taken_for_its_commonest_wrong_answer_the_first_of_equal_ones(tmp_path: Path) -> None:
    target = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    given = np.array([1, 2, 2, 0, 2, 0, 1, 2])
    table = tabulate_classes(read_run(write_answers(tmp_path / "run", target, given, list("abc"))), "test")
    assert {row.cells[0]: row.cells[-1] for row in table.rows} == {"a": "c (2)", "b": "a (1)", "c": ""}


def test_classes_without_images_are_named_and_one_that_is_never_the_answer_has_no_precision(tmp_path: Path) -> None:
    target, given = np.array([0, 0, 1]), np.array([0, 0, 0])
    run = write_answers(tmp_path / "run", target, given, [*"ab", *(f"empty {k}" for k in range(7))])
    pq.write_table(
        pq.read_table(run / "predictions.parquet").append_column("probabilities", [[[1 / 9] * 9] * 3]),
        run / "predictions.parquet",
    )
    table = tabulate_classes(read_run(run), "test")
    assert [row.cells[0] for row in table.rows] == ["b", "a"]
    assert table.rows[0].cells[4] == "\u2013"
    assert "empty 0, empty 1, empty 2, empty 3, empty 4 and 2 more" in table.note
    write_run_report(run)


def test_headings_sort_the_table_and_say_so(page: Page, run: Path) -> None:
    page.goto(write_run_report(run).as_uri())
    before = _names(page)
    heading = page.get_by_role("columnheader", name="Class", exact=True)
    assert page.get_by_role("columnheader", name="Recall", exact=True).get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert _names(page) == sorted(before, key=str.lower)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Space")
    assert _names(page) == sorted(before, key=str.lower, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    assert page.locator("#classes-table [aria-sort]").count() == 1
    page.get_by_role("button", name="Recall", exact=True).click()
    shares = [float(cell.split("\u00a0")[0]) for cell in page.locator("#classes-table .measure").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)


def test_the_filter_finds_classes_by_a_part_of_their_name(page: Page, run: Path) -> None:
    page.goto(write_run_report(run).as_uri())
    field = page.get_by_label("Find a class")
    field.fill("SHIRT")
    assert sorted(_names(page)) == ["T-shirt", "shirt"]
    assert page.locator("#classes [role=status]").inner_text() == "2 of 10 match"
    field.fill("nothing of the kind")
    assert _names(page) == []
    field.fill("")
    assert len(_names(page)) == 10


def test_without_the_script_the_table_stands_and_no_dead_control_is_shown(browser: Browser, run: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_run_report(run).as_uri())
    assert page.locator("#classes-table tbody tr").count() == 10
    assert page.locator("button:visible, input[type=search]:visible").count() == 0
    context.close()


def test_a_page_of_ten_thousand_classes_is_written_in_good_time_and_small(tmp_path: Path) -> None:
    run = write_many(tmp_path / "run")
    start = time.process_time()
    page = write_run_report(run)
    assert time.process_time() - start < 10
    assert page.stat().st_size < 3_000_000
    assert "of 10,000 classes" in page.read_text()


def test_a_page_of_ten_thousand_classes_opens_in_three_seconds_and_finds_each(page: Page, many: Path) -> None:
    page.goto(many.as_uri(), wait_until="load")
    took = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert took < 3000
    assert len(_names(page)) == 150
    page.get_by_label("Find a class").fill("number 0777")
    assert {f"class number 0777{k}" for k in range(10)} >= set(_names(page))
    assert len(_names(page)) >= 9
    page.get_by_label("Find a class").fill("")
    page.get_by_role("button", name="Show more rows").click()
    assert len(_names(page)) == 650


def test_rows_that_the_script_makes_look_like_those_that_are_written(page: Page, many: Path) -> None:
    page.goto(many.as_uri())
    shape = "row => [...row.cells].map(c => [c.tagName, c.className, c.children.length])"
    written = page.locator("#classes-table tbody tr").first.evaluate(shape)
    page.get_by_role("button", name="Show more rows").click()
    made = page.locator("#classes-table tbody tr").nth(640)
    assert made.evaluate(shape) == written
    drawn = "r => [r.querySelector('.measure span').textContent, +r.querySelector('.fill').getAttribute('width')]"
    share, width = made.evaluate(drawn)
    assert share == f"{width:.1f}\u00a0%"


def test_a_page_of_ten_thousand_classes_breaks_no_rule_of_accessibility(
    page: Page, many: Path, check_accessible: Callable[[Page], None]
) -> None:
    page.goto(many.as_uri())
    check_accessible(page)
