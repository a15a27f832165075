"""Pages of runs on images with several labels: the words, the table of labels, the images, in a browser too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as OpenPage
from sklearn.metrics import average_precision_score

from dropkd.report import write_comparison, write_run_report
from dropkd.report.label_sets import loss_of_rows
from dropkd.report.pairing import compare_runs
from dropkd.report.run_record import read_run
from dropkd.statistics.intervals import interval_of
from dropkd.statistics.precision import average_precision, draw_means, mean_precision

from .label_runs import LABELS, build_label_run, write_pairs
from .pages import Page

LONG = ("a_label_without_any_place_to_break_it_" * 3, "a label, with <words> in it", "feet", "legs", "open")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(tmp_path: Path, pairs: Path) -> Path:
    return build_label_run(tmp_path / "run", pairs, baseline=True)


def test_the_weighted_average_precision_is_that_of_scikit_learn_with_ties() -> None:
    source = np.random.default_rng(0)
    scores, present = source.integers(0, 6, 50) / 5, source.random(50) < 0.4
    weights = source.integers(0, 3, (4, 50)).astype(float)
    found = average_precision(scores, present, weights)
    expected = [average_precision_score(present, scores, sample_weight=row) for row in weights]
    assert found == pytest.approx(expected)


def test_the_interval_of_map_is_narrower_with_more_images_and_holds_its_value() -> None:
    source = np.random.default_rng(0)
    target = source.random((800, 3)) < 0.3
    scores = target + source.normal(0, 1, target.shape)
    value = mean_precision(scores, target)
    wide, narrow = (interval_of(value, draw_means(scores[:n], target[:n])) for n in (80, 800))
    assert narrow[0] < value < narrow[1]
    assert narrow[1] - narrow[0] < 0.5 * (wide[1] - wide[0])


def test_the_loss_of_an_image_is_the_mean_binary_cross_entropy_and_finite() -> None:
    found = loss_of_rows(np.array([[0.5, 1.0], [1.0, 0.0]]), np.array([[True, True], [False, True]]))
    assert found == pytest.approx([np.log(2) / 2, -np.log(1e-7)])


def test_the_first_words_are_of_map(run: Path) -> None:
    page = Page(write_run_report(run))
    metrics = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    assert f"has a mean average precision (mAP) of {100 * metrics['map']:.1f} % on the 60 test images" in page.text
    assert re.search(r"keeps \d+ % of its teacher\u2019s mAP \(\d+\.\d %\) with 29 % of its parameters\.", page.text)
    assert "points of mAP above the same student trained alone" in page.text
    assert "the 95 % interval of that mAP is" in page.text
    assert f"it has all labels of {100 * metrics['exact_match']:.1f} % of the images right" in page.text
    assert "name the same labels for" in page.text
    assert "chosen by val mAP" in page.text
    assert "What is missing" not in page.text


def test_each_label_has_its_average_precision_and_there_is_no_confusion_matrix(run: Path) -> None:
    page = Page(write_run_report(run))
    metrics = json.loads((run / "metrics.json").read_text())
    precision, taught = metrics["splits"]["test"]["class_ap"], metrics["teacher"]["splits"]["test"]["class_ap"]
    worst = int(np.argmin(precision))
    rows = re.findall(r'<th scope="row">(\w+)</th><td>\d+</td><td class="soft">', page.source)
    assert rows == [LABELS[k] for k in np.argsort(precision)]
    row = page.source[page.source.index(f'<th scope="row">{LABELS[worst]}</th>') :].split("</tr>")[0]
    figures = [float(figure) for figure in re.findall(r">([\d.]+)\u00a0%", row)]
    assert figures[1:3] == [round(100 * value[worst], 1) for value in (precision, taught)]
    assert "there is no confusion matrix" in page.text
    assert "Confusion matrix" not in page.text


def test_images_are_shown_with_all_their_labels(run: Path) -> None:
    page = Page(write_run_report(run))
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    right = [t == p for t, p in zip(table["target"], table["prediction"], strict=True)]
    taught = [t == p for t, p in zip(table["target"], table["teacher_prediction"], strict=True)]
    lost = sum(t and not s for s, t in zip(right, taught, strict=True))
    assert f"Teacher right, student wrong {lost} image" in page.text
    assert sum(link.startswith("data:image/png") for link in page.links) >= 12
    shown = next(k for k, path in enumerate(table["path"]) if path in page.text)
    assert (", ".join(LABELS[j] for j in table["target"][shown]) or "no label") in page.text


def test_an_unfinished_run_says_how_far_it_is(tmp_path: Path, pairs: Path) -> None:
    page = Page(write_run_report(build_label_run(tmp_path / "run", pairs, finished=False)))
    assert "1 of 3 epochs are logged" in page.text
    assert "The best so far is epoch 1 with a validation mAP of" in page.text


def test_a_difference_of_map_has_an_interval_over_the_same_images(tmp_path: Path, pairs: Path) -> None:
    better = read_run(build_label_run(tmp_path / "a", pairs, skill=2.0))
    worse = read_run(build_label_run(tmp_path / "b", pairs, skill=0.3))
    again = read_run(build_label_run(tmp_path / "c", pairs, skill=2.0))
    difference = compare_runs(better, worse, "test")
    assert difference is not None
    assert difference.verdict == "better"
    assert difference.interval[0] < difference.value < difference.interval[1]
    same = compare_runs(better, again, "test")
    assert same is not None
    assert same.value == 0
    assert same.interval == (0.0, 0.0)


def test_pages_show_whole_and_quietly_at_two_widths(browser: Browser, tmp_path: Path, pairs: Path, run: Path) -> None:
    long = build_label_run(tmp_path / "long", pairs, labels=LONG)
    runs = [run, build_label_run(tmp_path / "plain", pairs, "plain", skill=0.5), long]
    pages = [write_run_report(run), write_run_report(long), write_comparison(runs, tmp_path / "comparison.html")]
    assert "mAP, test" in Page(pages[-1]).text
    heard: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    for file in pages:
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for width in (375, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (file, width)
    page.close()
    assert heard == []


def test_labels_are_sorted_and_found_and_the_page_breaks_no_rule_of_accessibility(
    browser: Browser, run: Path, check_accessible: Callable[[OpenPage], None]
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(write_run_report(run).as_uri())
    page.get_by_role("button", name="Label", exact=True).click()
    names = page.locator("#labels-table tbody th").all_inner_texts()
    assert names == sorted(names)
    assert len(names) == 5
    page.get_by_label("Find a label").fill("ee")
    assert page.locator("#labels-table tbody th").all_inner_texts() == ["feet"]
    check_accessible(page)
    page.close()


def test_the_interval_of_map_holds_the_map_of_most_other_images_of_the_same_kind() -> None:
    source = np.random.default_rng(0)

    def draw(images: int) -> tuple[np.ndarray, np.ndarray]:
        target = source.random((images, 3)) < 0.3
        return target + source.normal(0, 0.8, target.shape), target

    truth = mean_precision(*draw(20_000))
    held = 0
    for _ in range(40):
        scores, target = draw(150)
        low, high = interval_of(mean_precision(scores, target), draw_means(scores, target))
        held += low < truth < high
    assert held >= 34
