"""The section on labels that the method has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dropkd.report import write_run_report
from dropkd.report.relabelled_images import choose_relabelled
from dropkd.report.relabels import describe_relabels
from dropkd.report.run_record import read_run

from .pages import Page
from .run_folders import Recipe, build_run


def _log(run: Path, *events: dict[str, Any]) -> Path:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"event": "relabel", **event}) + "\n" for event in events)
    return run


CHANGES = (
    {"epoch": 9, "index": [4, 8, 30], "before": [0, 0, 5], "after": [6, 6, 7]},
    {"epoch": 10, "index": [4, 31], "before": [6, 0], "after": [0, 6]},
)


def test_images_changes_epochs_and_pairs_are_counted(run: Path) -> None:
    found = describe_relabels(read_run(_log(run, *CHANGES)))
    assert found is not None
    assert (found.images, found.changes) == (4, 5)
    assert found.epochs == ((10, 3), (11, 2))
    assert [(pair.before, pair.after, pair.count) for pair in found.pairs] == [
        ("T-shirt", "shirt", 3),
        ("sandal", "sneaker", 1),
        ("shirt", "T-shirt", 1),
    ]


def test_the_page_says_how_many_labels_were_changed_and_how(run: Path) -> None:
    text = Page(write_run_report(_log(run, *CHANGES))).text
    assert "The method gave 4 training images another class, 5 times in all. relabelled.csv in the run folder" in text
    assert "Every accuracy on this page is by the original labels." in text
    assert "T-shirt to shirt: 3" in text
    assert "Changed labels" in text


def test_one_image_is_said_in_the_singular_and_a_stopped_run_names_no_file(tmp_path: Path, images: Path) -> None:
    run = _log(
        build_run(tmp_path / "run", images, Recipe(done=4)), {"epoch": 3, "index": [2], "before": [1], "after": [2]}
    )
    text = Page(write_run_report(run)).text
    assert "The method gave 1 training image another class. Every accuracy" in text


def test_a_run_whose_labels_stayed_has_no_such_section(run: Path) -> None:
    assert "Changed labels" not in Page(write_run_report(run)).text


def test_of_an_epoch_that_was_logged_twice_the_later_counts(run: Path) -> None:
    again = {"epoch": 10, "index": [7], "before": [1], "after": [2]}
    found = describe_relabels(read_run(_log(run, *CHANGES, again)))
    assert found is not None
    assert found.epochs == ((10, 3), (11, 1))


@pytest.mark.parametrize("damage", [{"index": None}, {"before": ["x"]}, {"after": 3}], ids=str)
def test_a_damaged_line_is_left_out(run: Path, damage: dict[str, Any]) -> None:
    found = describe_relabels(read_run(_log(run, {**CHANGES[0], **damage}, CHANGES[1])))
    assert found is not None
    assert found.epochs == ((11, 2),)


def _write_list(run: Path, *rows: tuple[int, str, str, str]) -> Path:
    lines = ["epoch,path,before,after", *(",".join(map(str, row)) for row in rows)]
    (run / "relabelled.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run


def test_images_are_shown_with_their_first_and_last_class_kinds_in_turns(run: Path) -> None:
    shirts = [(10, f"test/T-shirt/{k:05}.png", "T-shirt", "shirt") for k in range(14)]
    others = [
        (10, "test/coat/00001.png", "coat", "dress"),
        (11, "test/coat/00001.png", "dress", "pullover"),
        (10, "test/bag/00000.png", "bag", "dress"),
        (11, "test/bag/00000.png", "dress", "bag"),
    ]
    cards = choose_relabelled(read_run(_write_list(run, *shirts, *others)))
    assert len(cards) == 12
    assert [(card.before, card.after, card.epoch) for card in cards[:3]] == [
        ("T-shirt", "shirt", "10"), ("coat", "pullover", "11"), ("T-shirt", "shirt", "10"),
    ]  # fmt: skip
    assert all(card.picture.uri for card in cards)
    assert "bag" not in {card.before for card in cards}


def test_the_page_shows_them_with_names_as_text(run: Path) -> None:
    _write_list(
        _log(run, *CHANGES), (10, "test/T-shirt/00004.png", "T-shirt", "<i>shirt"), (10, "gone.png", "bag", "coat")
    )
    page = Page(write_run_report(run))
    section = page.source.partition('id="relabels"')[2].partition("</section>")[0]
    assert "&lt;i&gt;shirt" in section
    assert section.count("<img") == 1
    assert "image not found" in section


@pytest.mark.parametrize("content", [b"", b"path,what\na,b\n", b"\xff\xfe", b"epoch,path,before,after\n1,a\n"])
def test_a_damaged_list_shows_no_images(run: Path, content: bytes) -> None:
    (run / "relabelled.csv").write_bytes(content)
    assert choose_relabelled(read_run(run)) == []
    write_run_report(_log(run, *CHANGES))
