"""The section of where networks look: what it says, what it refuses to read, and the page in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from dropkd.overlays.agreement import Agreement
from dropkd.overlays.faithfulness import Faithfulness
from dropkd.overlays.painting import encode_picture, fit_picture, paint_map, say_where
from dropkd.overlays.result import ExplainedGroup, ExplainedImage, Explanation, Look
from dropkd.report import write_run_report
from dropkd.report.overlays import read_overlays, write_overlays_page

from .pages import Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as OpenPage

HOSTILE = '<img src=x onerror="document.title=1">'


def make_look(who: str, number: int, **changes: Any) -> Look:
    values = np.random.default_rng(number).random((7, 7))
    picture = encode_picture(paint_map(fit_picture(Image.new("RGB", (64, 64), "gray")), values, (1, 1)))
    kept: dict[str, Any] = {
        "who": who, "answer": "coat", "probability": 0.75, "right": who == "teacher", "asked_probability": 0.25,
        "values": tuple(map(tuple, values.tolist())), "where": say_where(values), "picture": picture,
    }  # fmt: skip
    return Look(**kept | changes)


def make_explanation(count: int = 4, side: int = 64, **changes: Any) -> Explanation:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture = encode_picture(fit_picture(Image.fromarray(noise)))
    nothing = {"values": None, "picture": None, "where": "nothing speaks for the class"}
    images = [
        ExplainedImage(
            f"test/{HOSTILE}/{k}.png", HOSTILE, HOSTILE, picture,
            (make_look("teacher", k), make_look("student", k + 100, **(nothing if k == 1 else {}))), -0.123, 0.2,
        )
        for k in range(count)
    ]  # fmt: skip
    kept: dict[str, Any] = {
        "way": "occlusion", "asked": "true", "split": "test", "multi_label": False,
        "networks": {"teacher": {"name": HOSTILE, "read_at": "x"}, "student": {"name": "s", "read_at": "x"}},
        "groups": (ExplainedGroup("Both wrong", "the worst first", 1234, tuple(images)),),
        "faithfulness": {
            "teacher": Faithfulness(32, 1.6, 0.6, (0.5, 1.5)),
            "student": Faithfulness(32, 0.7, 0.6, (-0.1, 0.3)),
        },
        "agreement": Agreement(31, 1, 0.285, (0.18, 0.39), -0.008, 0.2, (0.15, 0.27), 0.107),
        "notes": ("A note.",),
    }  # fmt: skip
    return Explanation(**kept | changes)


@pytest.fixture
def explained(run: Path) -> Path:
    """A run folder with overlays."""
    make_explanation().save(run / "overlays")
    return run


def test_the_report_says_in_words_how_much_the_networks_agree_and_whether_maps_are_true(explained: Path) -> None:
    page = Page(write_run_report(explained))
    assert (
        "a rank correlation of 0.28 (95 % interval 0.18 to 0.39); maps of different images go together by -0.01"
        in page.text
    )
    assert "overlap by 20 % of what they cover, those of different images by 11 %" in page.text
    assert "On 1 further image one of them sees nothing" in page.text
    assert "by 5.0 for the teacher (by 1.8 with another image\u2019s map) and by 2.0 for the student" in page.text
    assert "For the student that is not more than with another image\u2019s map" in page.text
    assert "1,234 images" in page.text
    assert "Where they look" in page.text
    assert "nothing speaks for the class" in page.text


def test_names_with_html_in_them_are_text(explained: Path) -> None:
    for page in (Page(write_run_report(explained)), Page(write_overlays_page(explained / "overlays"))):
        assert HOSTILE not in page.source
        assert HOSTILE in page.text
        assert all(link.startswith(("data:", "#")) for link in page.links)


def test_a_run_that_was_not_asked_has_no_such_section(run: Path) -> None:
    assert read_overlays(run) is None
    assert "Where they look" not in Page(write_run_report(run)).text


def damage(folder: Path, how: str) -> None:
    file = folder / "overlays/overlays.json"
    record = json.loads(file.read_text())
    image = record["groups"][0]["images"][0]
    if how == "cut":
        file.write_text(file.read_text()[:100])
    elif how == "picture gone":
        (folder / "overlays" / image["picture"]).unlink()
    elif how == "other way":
        file.write_text(json.dumps(record | {"way": "magic"}))
    elif how == "list":
        file.write_text("[]")
    else:
        (folder / "secret.jpg").write_bytes(b"secret")
        image["picture"] = how
        file.write_text(json.dumps(record))


@pytest.mark.parametrize("how", ["cut", "picture gone", "other way", "list", "../secret.jpg", "/etc/hostname", ".."])
def test_what_is_damaged_or_leads_out_of_the_folder_is_left_out(explained: Path, how: str) -> None:
    damage(explained, how)
    assert read_overlays(explained) is None
    page = Page(write_run_report(explained))
    assert "Where they look" not in page.text
    assert "c2VjcmV0" not in page.source


def test_the_pictures_of_a_page_stay_below_a_megabyte(run: Path) -> None:
    make_explanation(count=90, side=160).save(run / "overlays")
    looks = read_overlays(run)
    assert looks is not None
    shown = len(looks.groups[0].cards)
    assert 10 < shown < 90
    assert any(f"{90 - shown} more images" in note.replace("\u00a0", " ") for note in looks.notes)
    assert len(write_overlays_page(run / "overlays").read_bytes()) < 1_200_000


def test_what_is_asked_about_is_said(run: Path) -> None:
    for changes, said in (
        ({"asked": "coat"}, "the class “coat”"),
        ({"asked": "answer"}, "the student answers with"),
        ({"multi_label": True}, "finds least probable"),
        ({"way": "gradcam"}, "Where the map is read"),
        ({"way": "attention"}, "nothing of a class"),
    ):
        make_explanation(**changes).save(run / "overlays")
        assert said in Page(write_overlays_page(run / "overlays")).text
    make_explanation(way="attention").save(run / "overlays")
    assert "What is asked about" not in Page(write_overlays_page(run / "overlays")).text


@pytest.mark.parametrize(("rows", "columns", "words"), [
    (slice(0, 2), slice(0, 2), "mostly at the top left"),
    (slice(3, 4), slice(3, 4), "mostly in the middle"),
    (slice(5, 7), slice(3, 4), "mostly at the bottom"),
    (slice(3, 4), slice(6, 7), "mostly at the right"),
])  # fmt: skip
def test_a_map_is_told_in_words(rows: slice, columns: slice, words: str) -> None:
    values = np.zeros((7, 7))
    values[rows, columns] = 1
    assert say_where(values) == words


def test_colours_lie_where_the_map_is_and_what_is_not_seen_is_darkened() -> None:
    values = np.zeros((4, 4))
    values[0, 0] = 1
    painted = np.asarray(paint_map(Image.new("RGB", (160, 80), (128, 128, 128)), values, (1, 0.5))).astype(int)
    assert np.ptp(painted[:, :39], axis=2).max() == 0
    assert painted[:, :39].max() < 60
    red, green, blue = painted[5, 45]
    assert red > blue < green
    red, green, blue = painted[75, 115]
    assert blue > green < red


@pytest.mark.parametrize("write", [lambda run: write_overlays_page(run / "overlays"), write_run_report])
def test_the_page_fits_a_phone_and_breaks_no_rule_of_access(
    browser: Browser, explained: Path, check_accessible: Callable[[OpenPage], None], write: Callable[[Path], Path]
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(write(explained).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].filter(i => !i.naturalWidth || !i.alt).length") == 0
    assert page.evaluate("document.querySelectorAll('.look').length") == 4
    check_accessible(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert heard == []
    page.close()
