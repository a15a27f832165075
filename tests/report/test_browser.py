"""The pages in a real browser: nothing is blocked, nothing overflows, every picture is there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from dropkd.report import write_comparison, write_run_report
from dropkd.report.layer_similarity import write_similarity_page

from .run_folders import Recipe, build_run, write_images

LONG = ("a_class_name_without_any_place_to_break_it_" * 3, "another rather long name of a class, with words in it")

SIMILARITY = {
    "first": "teacher", "second": "student", "rows": ["blocks.0", "blocks.1"],
    "columns": ["layer1", "layer2", "layer3"],
    "images": 2000, "split": "test", "batch_size": 250, "before": [[0.1, 0.2, None], [0.0, 0.05, 0.4]],
    "after": [[0.9, 0.8, 0.2], [0.5, 0.7, 1.0]],
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, images: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("browser")
    runs = [build_run(root / name, images, Recipe(method=name)) for name in ("plain", "kd", "dropkd")]
    runs.append(build_run(root / "kd again", images, Recipe(method="kd", seed=1)))
    with_plain = build_run(root / "with plain", images, Recipe(), baseline=True)
    unfinished = build_run(root / "unfinished" / ("long-name-" * 12), images, Recipe(done=2))
    long = build_run(root / "long", write_images(root / "data", LONG), Recipe(classes=LONG, epochs=60))
    return {
        "run": write_run_report(with_plain),
        "unfinished": write_run_report(unfinished),
        "long": write_run_report(long),
        "comparison": write_comparison(runs, root / "comparison.html"),
        "layers": write_similarity_page(SIMILARITY, root / "cka.html"),
    }


@pytest.mark.parametrize("name", ["run", "unfinished", "long", "comparison", "layers"])
def test_a_page_shows_whole_and_quietly_at_each_width_and_in_each_scheme(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    page = browser.new_page()
    heard: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    for width, scheme in product((375, 1280), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        assert (_brightness(paper) > _brightness(ink)) == (scheme == "light")
    assert page.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert heard == []
    page.close()


@pytest.mark.parametrize("name", ["run", "unfinished", "long", "comparison", "layers"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_breaks_no_rule_of_accessibility(
    browser: Browser, pages: dict[str, Path], check_accessible: Callable[[Page], None], name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(pages[name].as_uri())
    check_accessible(page)
    page.close()


def test_the_style_sheet_reaches_charts_and_text_in_them_is_legible_on_a_phone(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto(pages["run"].as_uri())
    strokes = page.evaluate("[...document.querySelectorAll('.chart .line')].map(e => getComputedStyle(e).stroke)")
    assert "none" not in strokes
    heights = page.evaluate("[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height)")
    assert min(heights) >= 10
    page.close()


def test_every_control_and_wide_table_is_reached_by_the_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto(pages["run"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.tagName")
        )
    assert {"A", "SUMMARY", "Table: Confusion matrix", "Table: Figures by split and epoch", "Command"} <= reached
    page.close()


def test_runs_of_a_comparison_are_sorted_by_each_heading_and_by_the_keyboard(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.new_page()
    page.goto(pages["comparison"].as_uri())
    rows = page.locator("#runs-table tbody tr")
    page.get_by_role("button", name="Time", exact=True).press("Enter")
    seconds = [float(cell.get_attribute("data-value") or 0) for cell in rows.locator("td:last-child").all()]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) > 1
    page.get_by_role("button", name="Seed", exact=True).press("Enter")
    assert rows.nth(0).locator("th").inner_text() == "kd again"
    page.get_by_role("button", name="Points above plain, paired").press("Enter")
    # The plain run has nothing above itself, and seed 1 has no plain run: what is missing comes last.
    assert rows.locator("th").all_inner_texts()[2:] == ["plain", "kd again"]
    page.close()


def test_print_is_dark_on_white_and_opens_what_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 720, "height": 1000}, color_scheme="dark")
    page.goto(pages["run"].as_uri())
    page.emulate_media(media="print")
    assert _brightness(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 765
    assert page.locator("text=All figures, with their split").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    page.close()


def test_headings_lead_from_one_level_to_the_next(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    for path in pages.values():
        page.goto(path.as_uri())
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        unnamed = "[...document.querySelectorAll('svg[role=img], img')].filter(e => !(e.ariaLabel || e.alt)).length"
        assert page.evaluate(unnamed) == 0
    page.close()


def _brightness(color: str) -> int:
    return sum(int(part) for part in color.partition("(")[2].rstrip(")").split(",")[:3])
