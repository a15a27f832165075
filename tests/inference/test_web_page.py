"""The page that runs an exported student in a browser answers as Python does."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import re
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import RunError
from dropkd.export import web
from dropkd.export.web.packing import pack, unpack
from dropkd.prediction import Prediction

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PACKAGE = Path(web.__file__).parent
NAMES = ["<img src=x onerror=alert(1)>", "back\u202ewards & 'quotes'", "</script><script>alert(2)</script>"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run's student. Read only."""
    folder = tmp_path_factory.mktemp("web") / "a site"
    assert run_command_line(["export", str(run), "--to", "web", "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of the page on a plain web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages; what they log, and what they ask for beside their own folder, fails the test."""
    opened, told = [], []

    def open_one(address: str, **options: object) -> Page:
        page = browser.new_page(**options)  # type: ignore[arg-type]
        opened.append(page)
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        known = (address.rpartition("/")[0].replace(" ", "%20"), "data:", "blob:")
        page.on("request", lambda asked: asked.url.startswith(known) or told.append(f"asked for {asked.url}"))
        page.goto(address)
        page.locator("html.ready").wait_for()
        return page

    yield open_one
    for page in opened:
        page.close()
    assert told == []


def ask(page: Page, image: Path) -> tuple[str, list[tuple[str, float]]]:
    """Give the page an image file; return its answer and its bars, with probabilities."""
    page.locator("#time").evaluate("element => { element.textContent = ''; }")
    page.locator("#picker").set_input_files(image)
    page.locator("#time", has_text="ms for the network").wait_for()
    return read(page)


def read(page: Page) -> tuple[str, list[tuple[str, float]]]:
    rows = page.locator("#bars li").all()
    names = [row.locator("bdi").text_content() or "" for row in rows]
    shares = [float((row.locator(".share").text_content() or "").removesuffix(" %")) / 100 for row in rows]
    return page.locator("#answer").text_content() or "", list(zip(names, shares, strict=True))


def expect_answer(page: Page, image: Path, answer: Prediction, tolerance: float) -> None:
    said, bars = ask(page, image)
    assert said == f"{bars[0][0]}, {100 * bars[0][1]:.1f} %"
    assert bars[0][0] == answer.label, image.name
    expected = dict(answer.top)
    np.testing.assert_allclose(
        [p for _, p in bars], [expected[name] for name, _ in bars], atol=tolerance, err_msg=image.name
    )


def test_the_page_gives_the_answers_of_the_run_from_a_server_and_from_disk(
    run: Path, photos: list[Path], site: Path, served: str, open_page: Callable[..., Page]
) -> None:
    # Browsers read no TIFF, and bring CMYK to colours in a way of their own.
    images = [path for path in photos if path.suffix != ".tif" and "cmyk" not in path.name]
    answers = dict(zip(images, dropkd.Run.open(run).predict(images), strict=True))
    page = open_page(served)
    for image, answer in answers.items():
        # Python decodes large JPEGs at a fraction of their size; all other pixels are the same.
        expect_answer(page, image, answer, 0.05 if image.suffix in (".jpg", ".jpeg") else 0.002)
    page = open_page(f"file://{site}/index.html")
    for image in images[:6]:
        expect_answer(page, image, answers[image], 0.05)


def test_real_images_of_the_test_split_are_named_as_python_names_them(
    run: Path, clothes: Path, served: str, open_page: Callable[..., Page]
) -> None:
    images = sorted((clothes / "test").rglob("*.png"))
    page = open_page(served)
    answers = dropkd.Run.open(run).predict(images)
    assert len({answer.label for answer in answers}) > 1
    for image, answer in zip(images, answers, strict=True):
        expect_answer(page, image, answer, 0.001)


def test_the_page_resizes_as_pillow_does(browser: Browser) -> None:
    draw = np.random.default_rng(0)
    page = browser.new_page()
    page.goto("about:blank")
    page.evaluate(f"{(PACKAGE / 'templates/resize.js').read_text()}; globalThis.fitFrame = fitFrame; null")

    def differ(height: int, width: int, frame: tuple[int, int]) -> int:
        pixels = draw.integers(0, 256, (height, width, 3), np.uint8)
        rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
        found = page.evaluate(
            """([height, width, bytes, frame]) => {
              const all = Uint8ClampedArray.from(atob(bytes), letter => letter.charCodeAt(0));
              const read = (top, rows) => all.subarray(top * width * 4, (top + rows) * width * 4);
              return Array.from(fitFrame(height, width, read, frame));
            }""",
            [height, width, _encode(rgba), list(frame)],
        )
        expected = dropkd.data.geometry.fit_frame(Image.fromarray(pixels), frame)
        return int(np.abs(np.int64(found).reshape(expected.shape) - expected).max())

    # Every version of Pillow begins with the lines here.
    for height, width, frame in [(28, 28, (28, 28)), (333, 500, (32, 32)), (50, 90, (32, 40)), (20, 20, (60, 60))]:
        assert differ(height, width, frame) == 0, (height, width, frame)
    # Where it begins with the columns instead, one rounding comes at another place.
    for height, width, high, wide in draw.integers(1, [300, 300, 64, 64], (20, 4)).tolist():
        assert differ(height, width, (high, wide)) <= 1, (height, width, high, wide)
    page.close()


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def test_a_sample_is_asked_about_with_the_keyboard_alone(served: str, open_page: Callable[..., Page]) -> None:
    page = open_page(served)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "picker"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#time", has_text="ms for the network").wait_for()
    _, bars = read(page)
    assert len(bars) == 3
    assert sum(share for _, share in bars) == pytest.approx(1, abs=0.002)
    samples = page.locator("button.sample bdi").all_text_contents()
    assert sorted(set(samples)) == sorted({name for name, _ in bars})


def test_the_page_can_send_nothing(served: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(served)
    assert page.evaluate("fetch('index.html').then(() => 'sent', () => 'refused')") == "refused"
    policy = page.locator("meta[http-equiv]").get_attribute("content") or ""
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_axe_finds_nothing(
    served: str,
    photos: list[Path],
    open_page: Callable[..., Page],
    check_accessible: Callable[[Page], None],
    width: int,
) -> None:
    page = open_page(served, viewport={"width": width, "height": 800})
    check_accessible(page)
    ask(page, photos[0])
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_no_image_is_said_and_the_next_image_is_answered(
    served: str, photos: list[Path], tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    page = open_page(served)
    (tmp_path / "notes.png").write_text("no image")
    page.locator("#picker").set_input_files(tmp_path / "notes.png")
    page.get_by_role("alert").get_by_text("“notes.png” is not an image that this browser can read.").wait_for()
    ask(page, photos[0])
    assert page.locator("#mistake").is_hidden()


def test_a_folder_that_was_torn_apart_says_what_is_missing(site: Path, tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "index.html").write_bytes((site / "index.html").read_bytes())
    page = browser.new_page()
    page.goto(f"file://{tmp_path}/index.html")
    page.get_by_role("alert").get_by_text("onnxruntime.js and model.js could not be loaded.").wait_for()
    page.close()


def test_class_names_are_shown_as_text(
    site: Path, tmp_path: Path, photos: list[Path], open_page: Callable[..., Page]
) -> None:
    facts = json.loads((site.parent / f"{site.name}.json").read_text(encoding="utf-8"))
    sample = web.samples.Sample("data:image/png;base64,", NAMES[2])
    web.write_folder(tmp_path / "odd", web.read_model(site), {**facts, "classes": NAMES, "model": NAMES[0]}, [sample])
    page = open_page(f"file://{tmp_path}/odd/index.html")
    _, bars = ask(page, photos[0])
    assert {name for name, _ in bars} == {NAMES[0], "back\N{REPLACEMENT CHARACTER}wards & 'quotes'", NAMES[2]}
    assert page.locator("button.sample bdi").text_content() == NAMES[2]
    assert page.locator("h1").text_content() == f"What does {NAMES[0]} see?"


def test_several_labels_have_a_bar_each(
    labels_run: Path, outfits: Path, tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    written = dropkd.export_run(labels_run, to="web", output=tmp_path / "labels", preprocessing=True, samples=2)
    page = open_page(f"file://{written.path}/index.html")
    assert page.locator("button.sample").count() == 2
    images = sorted((outfits.parent / "test").iterdir())[:8]
    for image, answer in zip(images, dropkd.Run.open(labels_run).predict(images), strict=True):
        said, bars = ask(page, image)
        assert said == (", ".join(answer.labels or ()) or "None of the labels reaches 50 %")
        assert [name for name, _ in bars] == [name for name, _ in answer.top]
        np.testing.assert_allclose([p for _, p in bars], [p for _, p in answer.top], atol=0.001)


def test_without_samples_no_image_of_the_data_is_on_the_page(run: Path, tmp_path: Path) -> None:
    dropkd.export_run(run, to="web", output=tmp_path / "site", samples=0)
    assert "data:image" not in (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [
        "index.html",
        "model.js",
        "onnxruntime-licences.txt",
        "onnxruntime.js",
    ]


def test_an_earlier_page_is_replaced_and_any_other_folder_is_not(site: Path, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "student-web"
    (target / "notes").mkdir(parents=True)
    with pytest.raises(RunError, match="a folder of that name is there, and it is no earlier export"):
        dropkd.export_run(run, to="web", output=target)
    (target / "notes").rmdir()
    target.rmdir()
    for _ in range(2):
        dropkd.export_run(run, to="web", output=target)
    # Equal exports are equal files.
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {p.name: p.read_bytes() for p in site.iterdir()}


def test_the_runtime_is_the_one_of_the_npm_package() -> None:
    readme = (PACKAGE / "onnxruntime_web/README.md").read_text(encoding="utf-8")
    sums = re.findall(r"^\| `([\w.-]+?)(?:\.xz)?` \|.*`([0-9a-f]{64})` \|$", readme, re.MULTILINE)
    assert len(sums) == 2
    for name, expected in sums:
        path = PACKAGE / "onnxruntime_web" / name
        content = path.read_bytes() if path.is_file() else lzma.decompress(path.with_name(f"{name}.xz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == expected


def test_packed_bytes_come_back() -> None:
    script = pack("model", bytes(range(256))) + pack('wa"sm', b"")
    assert unpack(script, "model") == bytes(range(256))
    assert unpack(script, 'wa"sm') == b""
    with pytest.raises(KeyError):
        unpack(script, "other")


def test_a_folder_of_any_name_is_written_anew_and_a_file_in_the_way_is_a_mistake(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        written = dropkd.export_run(run, to="web", output=tmp_path / "v1.5", samples=0)
        assert written.path == tmp_path / "v1.5"
    assert not (tmp_path / "v1.5/student-web").exists()
    (tmp_path / "folder").mkdir()
    assert dropkd.export_run(run, to="web", output=tmp_path / "folder").path == tmp_path / "folder/student-web"
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError, match="a file stands in the way"):
        dropkd.export_run(run, to="web", output=tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file"
