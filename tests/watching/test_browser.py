"""The page in a real browser, while a run is trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .logs import config, epoch, events, held, start, step, write_run
from .test_server import serving

# Waits after its first epoch until somebody has seen it.
_TRAINING = """
import sys, time
from pathlib import Path
import dropkd

class Patient(dropkd.Observer):
    def on_epoch(self, record):
        while not Path(sys.argv[3]).exists():
            time.sleep(0.01)

dropkd.train(Path(sys.argv[1]), model="cifar_resnet8", epochs=5, batch_size=8, output=sys.argv[2], observer=Patient())
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose complaints fail the test."""
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    yield page
    page.close()
    assert heard == []


def _write_epoch(journal: object, number: int, accuracy: float) -> None:
    fields = {k: v for k, v in epoch(number, accuracy).items() if k not in ("event", "step")}
    journal.write("epoch", (number + 1) * 10, **fields)  # type: ignore[attr-defined]


def test_the_page_follows_a_run_that_is_being_trained(page: Page, clothes: Path, tmp_path: Path) -> None:
    run, seen = tmp_path / "run", tmp_path / "seen"
    with subprocess.Popen([sys.executable, "-c", _TRAINING, str(clothes), str(run), str(seen)]) as process:
        while not (run / "metrics.jsonl").is_file():
            assert process.poll() is None
        with serving(run) as server:
            page.goto(server.address)
            expect(page.locator("h1")).to_have_text("cifar_resnet8, trained alone")
            expect(page.locator("#part-progress .lead")).to_contain_text("Epoch 1 of 5", timeout=30_000)
            seen.touch()
            expect(page.locator("#part-state")).to_contain_text("finished", timeout=60_000)
            expect(page.locator("#part-progress .lead")).to_contain_text("Finished after 5 epochs")
            expect(page.locator("#part-epochs tbody tr")).to_have_count(5)
            expect(page.locator("#part-curves svg[role=img]").first).to_be_visible()
            assert page.title() == "run, finished"
            # Written by the run's end: the page has it without being loaded again.
            assert process.wait() == 0
            expect(page.locator("#part-files a", has_text="report.html")).to_be_visible()
            page.locator("#part-files a", has_text="report.html").click()
            expect(page.locator("h1")).to_contain_text("cifar_resnet8")


def test_only_what_is_new_is_put_in_place(page: Page, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *events(done=2))
    with serving(run) as server, held(run) as journal:
        page.goto(server.address)
        expect(page.locator("#news")).to_have_text("Epoch 2: validation accuracy 90.0\u00a0%.")
        page.evaluate("document.querySelector('#part-files ul').id = 'mine'")
        while page.evaluate("document.activeElement.getAttribute('aria-label')") != "Table: The numbers of each epoch":
            page.keyboard.press("Tab")
        _write_epoch(journal, 2, 0.95)
        expect(page.locator("#news")).to_have_text("Epoch 3: validation accuracy 95.0\u00a0%.")
        expect(page.locator("#part-progress .lead")).to_contain_text("Epoch 3 of 4")
        assert page.locator("#mine").count() == 1
        # Whoever reads a table by the keyboard keeps it until he leaves it.
        expect(page.locator("#part-epochs tbody tr")).to_have_count(2)
        page.keyboard.press("Shift+Tab")
        expect(page.locator("#part-epochs tbody tr")).to_have_count(3)


def test_a_server_that_has_gone_is_said_and_its_return_is_seen(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()  # whose console tells of each question that nobody answers
    run = write_run(tmp_path / "run", *events(done=2))
    with serving(run) as server:
        page.goto(server.address)
        expect(page.locator("#contact")).to_be_hidden()
        port = server.server_port
    expect(page.locator("#contact")).to_contain_text("dropkd watch does not answer", timeout=10_000)
    with serving(run, port):
        expect(page.locator("#contact")).to_be_hidden(timeout=10_000)
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_and_are_accessible(
    page: Page, check_accessible: Callable[[Page], None], tmp_path: Path, width: int
) -> None:
    long = "a_name_without_any_place_to_break_it_" * 4
    evil = config(student={"name": long}, teacher={"source": "<u>teacher</u>"})
    group = tmp_path / "group"
    write_run(group / "one", start(evil), *events(done=3)[1:], {"event": "warning", "text": f"{long} <u>odd</u>"})
    write_run(group / long, *events(), settings=evil)
    write_run(group / "failed", start(), step(1), {"event": "failure", "reason": "`nan` in <u>step</u> 1"})
    write_run(group / "waiting")
    page.set_viewport_size({"width": width, "height": 800})
    with serving(group) as server, held(group / "one"):
        for path in ("", "run/0/", "run/1/", "run/2/", "run/3/"):
            page.goto(f"{server.address}{path}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("u").count() == 0
            levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
            assert levels[0] == 1
            assert levels.count(1) == 1
            check_accessible(page)


def test_one_goes_from_a_group_to_a_run_and_back_by_the_keyboard(page: Page, tmp_path: Path) -> None:
    write_run(tmp_path / "group" / "one", *events())
    with serving(tmp_path / "group") as server:
        page.goto(server.address)
        page.locator("a", has_text="one").focus()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("resnet18, kd")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the run"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Runs in group")
