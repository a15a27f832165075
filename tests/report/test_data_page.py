"""The page of a checked data set: its words, and how it shows in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser
from playwright.sync_api import Page as OpenPage

from dropkd.data.check import DataCheck, check_data
from dropkd.report import write_data_page

from .pages import Page

LONG = "a_class_name_without_any_place_to_break_it_" * 3


@pytest.fixture(scope="module")
def check(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> DataCheck:
    """A check of data with a leak, a near copy, an unreadable file, and names that are hard to show."""
    root = tmp_path_factory.mktemp("page") / "photos"
    shutil.copytree(clothes, root)
    first, second, third = sorted((root / "train" / "sandal").iterdir())[:3]
    shutil.copy(first, root / "test" / "sandal" / "<b>copy.png")
    Image.open(second).resize((40, 40)).save(root / "test" / "sandal" / "near.png")
    (root / "train" / "sandal" / "broken.png").write_bytes(b"no")
    (root / "train" / LONG).mkdir()
    shutil.copy(third, root / "train" / LONG / os.fsdecode(b"\xff.png"))
    return check_data(root)


@pytest.fixture(scope="module")
def page(check: DataCheck, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_page(check, tmp_path_factory.mktemp("written") / "new" / "check.html")


def test_the_page_tells_every_finding_and_shows_its_images(check: DataCheck, page: Path) -> None:
    read = Page(page)
    assert [finding.title for finding in check.findings if finding.title.replace("\u00a0", " ") not in read.text] == []
    assert "test/sandal/<b>copy.png" in read.text
    assert "b" not in read.tags
    assert "\\xff.png" in read.text
    pictures = [link for link in read.links if link.startswith("data:image/")]
    assert len(pictures) >= 6 * 3 + 4
    assert "24 of 256 bits apart" in read.text


def test_data_in_order_says_so(clothes: Path, tmp_path: Path) -> None:
    written = write_data_page(check_data(clothes), tmp_path / "check.html")
    assert "Nothing stands in the way of training." in Page(written).text


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_breaks_no_rule_of_accessibility(
    browser: Browser, page: Path, check_accessible: Callable[[OpenPage], None], width: int
) -> None:
    shown = browser.new_page(viewport={"width": width, "height": 800})
    shown.goto(page.as_uri())
    check_accessible(shown)
    shown.close()


def test_ten_thousand_classes_open_in_three_seconds_and_each_is_found(browser: Browser, tmp_path: Path) -> None:
    classes = tuple(f"kind {k:05}" for k in range(10_000))
    counts = {"train": tuple(range(10_000)), "test": (1,) * 10_000}
    nothing: dict[str, Any] = {"sizes": None, "formats": {}, "modes": {}, "findings": (), "notes": (), "near": None}
    check = DataCheck("photos", "photos", classes, counts, images=5, readable=5, seconds=1.0, **nothing)
    written = write_data_page(check, tmp_path / "check.html")
    assert written.stat().st_size < 1_000_000
    shown = browser.new_page()
    shown.goto(written.as_uri(), wait_until="load")
    assert shown.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") < 3000
    shown.get_by_label("Find a class").fill("07777")
    rows = shown.locator("#classes-table tbody tr")
    assert rows.all_inner_texts() == ["kind 07777\t7,777\t1"]
    shown.get_by_label("Find a class").fill("")
    shown.get_by_role("button", name="train").click()
    assert rows.first.inner_text() == "kind 09999\t9,999\t1"
    assert shown.locator("#classes-table tfoot").inner_text().split("\t")[1] == "49,995,000"
    shown.close()


def test_the_page_shows_whole_and_quietly_at_each_width_and_in_each_scheme(browser: Browser, page: Path) -> None:
    shown = browser.new_page()
    heard: list[str] = []
    asked: list[str] = []
    shown.on("console", lambda message: heard.append(message.text))
    shown.on("pageerror", lambda error: heard.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(page.as_uri())
    for width, scheme in product((375, 1280), ("light", "dark")):
        shown.set_viewport_size({"width": width, "height": 800})
        shown.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate("[...document.images].filter(i => !i.naturalWidth || !i.alt).length") == 0
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert heard == []
    levels = shown.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    shown.close()
