from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dropkd.report import write_run_report
from dropkd.report.calibration import describe_calibration
from dropkd.report.reliability import read_reliability
from dropkd.report.run_record import read_run
from dropkd.statistics.judging import Opinion, judge_classes, tabulate_reliability

from .label_runs import build_label_run, write_pairs
from .pages import Page
from .run_folders import change_json


def _write_reliability(run: Path, student: np.ndarray, target: np.ndarray) -> None:
    """Give a run the figures of these probabilities."""
    metrics = json.loads((run / "metrics.json").read_text())
    opinion = Opinion(student.argmax(1), student.astype(np.float32))
    scores = judge_classes(opinion, target) | {"reliability": tabulate_reliability(opinion, target)}
    metrics["splits"]["test"] |= scores
    (run / "metrics.json").write_text(json.dumps(metrics))


def _answer(accuracy: float, confidence: float, images: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    right = random.random(images) < accuracy
    odds = np.where(random.random(images) < 0.5, confidence - 0.1, confidence + 0.1)
    return np.stack([odds, 1 - odds], 1), np.where(right, 0, 1)


@pytest.mark.parametrize(
    ("accuracy", "expected"), [(0.5, "it claims 2[0-9].. points too much"), (0.95, "it claims .* points too little")]
)
def test_a_network_that_is_surer_than_right_or_less_is_told_so(run: Path, accuracy: float, expected: str) -> None:
    _write_reliability(run, *_answer(accuracy, 0.75))
    text = Page(write_run_report(run)).text
    assert re.search(f"The student is 7[45].. % sure of its answers on average, and .* are right: {expected}", text)


def test_where_the_two_agree_within_chance_no_more_is_said(run: Path) -> None:
    _write_reliability(run, *_answer(0.75, 0.75))
    assert "are right: a difference that chance can explain." in Page(write_run_report(run)).text


def test_the_error_and_its_interval_are_those_of_the_run(run: Path) -> None:
    scores = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    low, high = scores["intervals"]["ece"]
    said = f"lie {100 * scores['ece']:.1f} % apart (ECE, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    assert said in Page(write_run_report(run)).text


def test_the_bins_add_up_to_the_figures(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    told = read_reliability(metrics["reliability"])
    assert told is not None
    assert told.answers == metrics["images"]
    assert told.accuracy == pytest.approx(metrics["accuracy"])
    ece = sum(b.answers * abs(b.accuracy - b.confidence) for b in told.bins) / told.answers
    assert ece == pytest.approx(metrics["ece"])


def test_the_table_has_a_line_for_each_bin_with_answers_of_either_network(run: Path) -> None:
    record = read_run(run)
    found = describe_calibration(record, "test")
    assert found is not None
    bins = [record.metrics["splits"]["test"], record.metrics["teacher"]["splits"]["test"]]
    used = np.array([scores["reliability"]["images"] for scores in bins]).any(axis=0)
    assert len(found.rows) == np.count_nonzero(used)
    assert sum(int(row.cells[0][0].replace(",", "")) for row in found.rows) == bins[0]["images"]
    assert found.columns == ("Student, answers", "Student, right", "Teacher, answers", "Teacher, right")


def test_the_diagram_says_its_points_in_words_and_thin_bins_are_hollow(run: Path) -> None:
    found = describe_calibration(read_run(run), "test")
    assert found is not None
    told = read_reliability(read_run(run).metrics["splits"]["test"]["reliability"])
    assert told is not None
    drawing = str(found.chart.drawing).replace("\u00a0", " ")
    first = told.bins[0]
    assert f"{100 * first.confidence:.1f} % sure, {100 * first.accuracy:.1f} % right" in drawing
    few = sum(b.answers < 10 for b in told.bins)
    assert few
    assert drawing.count('class="seed student"') == few
    assert drawing.count('class="dot student"') == len(told.bins) - few


NOTHING = [None, None]
BROKEN = [
    None,
    [],
    {"images": [0, 0], "confidence": NOTHING, "accuracy": NOTHING},
    {"images": [3], "confidence": [0.5]},
    {"images": [3], "confidence": ["x"], "accuracy": [1]},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_run_without_a_table_of_reliability_has_no_such_section(run: Path, broken: object) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["splits"]["test"]["reliability"] = broken
    change_json(run / "metrics.json", splits=metrics["splits"])
    page = Page(write_run_report(run))
    assert 'id="calibration"' not in page.source
    assert "#calibration" not in page.source


def test_images_with_several_labels_are_calibrated_by_label(tmp_path: Path) -> None:
    run = build_label_run(tmp_path / "run", write_pairs(tmp_path / "data"))
    page = Page(write_run_report(run))
    said = r"The student gives a label a probability of \d+\.\d % on average, and \d+\.\d % of the labels are there"
    assert re.search(said, page.text)
    assert "whisker student" not in page.source.partition('id="calibration"')[2].partition("</section>")[0]
