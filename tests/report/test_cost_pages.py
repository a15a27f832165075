"""What networks cost, on a run's page and on a comparison's; accuracy by dropout rates beside the paper's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropkd.report import write_comparison, write_run_report
from dropkd.report.cost_scatter import weigh_costs
from dropkd.report.dropout_grid import draw_grids, read_paper_grids
from dropkd.report.groups import group_runs
from dropkd.report.run_record import read_run
from dropkd.report.scatter import Place, draw_scatter, find_front

from .cost_files import write_cost
from .pages import Page
from .run_folders import Recipe, build_run, change_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as OpenPage

LARGE = ("cifar_resnet20", 272_474, 41_000_000)
RATES = (0.3, 0.5, 0.7)


def build_grid(root: Path, images: Path, kind: str = "feature", **fixed: float) -> list[Path]:
    """Runs of each pair of rates but the last, the middle one with three seeds."""
    runs = []
    for teacher, student in list(product(RATES, RATES))[:-1]:
        rates = {f"{kind}_rate_teacher": teacher, f"{kind}_rate_student": student, **fixed}
        for seed in range(3) if teacher == student == 0.5 else (0,):
            name = "-".join(map(str, (kind, *rates.values(), seed)))
            runs.append(build_run(root / name, images, Recipe(seed=seed, options=tuple(rates.items()))))
    return runs


def list_rows(page: Page) -> list[str]:
    """The rows of all tables of a page, a space between cells."""
    rows = re.findall(r"<tr.*?</tr>", page.source, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in rows]


def test_a_runs_page_says_what_is_counted_and_how_to_time_it(run: Path) -> None:
    page = Page(write_run_report(run))
    assert "One image takes 12.8 M multiply-adds, 1.6 times its teacher\u2019s." in page.text
    assert "Parameters 78,330 282,314 28 %" in list_rows(page)
    assert "Weights in memory 313.3 KB 1.1 MB 28 %" in list_rows(page)
    assert "How long an image takes is not measured yet: dropkd cost " in page.text
    assert f"dropkd cost {run}" in page.text


def test_a_student_that_takes_less_than_its_teacher_is_a_share_of_it(tmp_path: Path, images: Path) -> None:
    page = Page(write_run_report(build_run(tmp_path / "run", images, Recipe(teacher_macs=46_700_000))))
    assert "One image takes 12.8 M multiply-adds, 27 % of its teacher\u2019s." in page.text
    assert "Multiply-adds of one image 12.8 M 46.7 M 27 %" in list_rows(page)


def test_a_runs_page_shows_what_was_timed_beside_its_teacher(run: Path) -> None:
    (run / "student.onnx").write_bytes(bytes(2_560_000))
    write_cost(run, 0.0031, teacher=0.0124, notes=("A <b>note</b>.",), load=4.0)
    page = Page(write_run_report(run))
    assert "A batch of 1 image takes it 3.10 ms (torch, 1 thread), 4.0 times as fast as its teacher." in page.text
    rows = list_rows(page)
    assert "torch 1 thread, 1 image 3.10 ms p95 4.65 ms 12.4 ms p95 18.6 ms 4.0 times 12.0 MB" in rows
    assert "torch 1 thread, 8 images 18.6 ms p95 27.9 ms 74.4 ms p95 112 ms 4.0 times \u2013" in rows
    assert "File student.onnx 2.6 MB \u2013" in rows
    assert "Some Processor, 2 cores; torch 2.14.1, onnxruntime 1.32.0; measured 2026-11-24 18:00 UTC" in page.text
    assert "the machine was busy with other things" in page.text
    assert "A <b>note</b>." in page.text
    assert "<b>note" not in page.source
    write_cost(run, 0.0031, teacher=0.0124, width=0.2)
    page = Page(write_run_report(run))
    assert "3.10 ms (torch, 1 thread); how that compares with its teacher was not measured surely enough" in page.text
    assert "torch 1 thread, 1 image 3.10 ms p95 4.65 ms 12.4 ms p95 18.6 ms ~4.0 times 12.0 MB" in list_rows(page)
    write_cost(run, 0.02, teacher=0.01)
    assert "20.0 ms (torch, 1 thread), 2.0 times slower than its teacher." in Page(write_run_report(run)).text


def test_a_run_without_a_teacher_has_no_columns_for_one(tmp_path: Path, images: Path) -> None:
    run = build_run(tmp_path / "plain", images, Recipe(method="plain"))
    write_cost(run, 0.0031)
    text = Page(write_run_report(run)).text
    assert "A batch of 1 image takes it 3.10 ms (torch, 1 thread)." in text
    assert "Share of the teacher" not in text


def test_a_cost_that_is_damaged_or_another_students_is_a_gap(run: Path) -> None:
    write_cost(run, 0.0031)
    change_json(run / "metrics.json", student={"name": "other", "parameters": 5, "macs": 7, "bytes": 20})
    page = Page(write_run_report(run))
    assert f"cost.json is of another student than this run's: measure again with `dropkd cost {run}`." in page.text
    assert "3.10 ms" not in page.text
    (run / "cost.json").write_text("{")
    assert "cost.json can't be read (JSONDecodeError" in Page(write_run_report(run)).text


def test_a_run_of_an_earlier_version_has_no_section_until_it_is_measured(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    write_cost(run, 0.0031, teacher=0.0124)
    for role in ("student", "teacher"):
        del metrics[role]["macs"], metrics[role]["bytes"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "One image takes 12.8 M multiply-adds, 1.6 times its teacher\u2019s." in Page(write_run_report(run)).text
    (run / "cost.json").unlink()
    text = Page(write_run_report(run)).text
    assert "What it costs" in text
    assert "multiply-adds" not in text.partition("How these figures")[0].partition("What it costs")[2]


def test_a_comparison_sets_accuracy_against_cost_and_marks_the_front(tmp_path: Path, images: Path) -> None:
    recipes = [
        Recipe(method="plain", skill=1.5), Recipe(method="kd", skill=1.9, teacher_macs=46_700_000),
        Recipe(method="kd", skill=2.1, student=LARGE, teacher_macs=46_700_000),
        Recipe(method="plain", skill=1.4, student=LARGE),
    ]  # fmt: skip
    runs = [build_run(tmp_path / f"{k}", images, recipe) for k, recipe in enumerate(recipes)]
    for run, seconds in zip(runs, (0.001, 0.001, 0.004, 0.004), strict=True):
        taught = json.loads((run / "metrics.json").read_text())["teacher"] is not None
        write_cost(run, seconds, teacher=0.009 if taught else None)
    found = weigh_costs(group_runs([read_run(run) for run in runs]), "test")
    assert found is not None
    assert [(row.name, row.macs, row.latency) for row in found.rows] == [
        ("teacher", "46.7\u00a0M", "9.00\u00a0ms"),
        ("plain, cifar_resnet8", "12.8\u00a0M", "1.00\u00a0ms"),
        ("kd, cifar_resnet8", "12.8\u00a0M", "1.00\u00a0ms"),
        ("kd, cifar_resnet20", "41.0\u00a0M", "4.00\u00a0ms"),
        ("plain, cifar_resnet20", "41.0\u00a0M", "4.00\u00a0ms"),
    ]
    scores = {row.name: float(row.accuracy.split()[0]) for row in found.rows}
    order = ["teacher", "kd, cifar_resnet20", "kd, cifar_resnet8", "plain, cifar_resnet8"]
    assert sorted(order, key=scores.__getitem__, reverse=True) == order
    assert [row.name for row in found.rows if row.is_best] == ["teacher", "kd, cifar_resnet8", "kd, cifar_resnet20"]
    assert [chart.title for chart in found.charts] == [
        "Accuracy on the test images against multiply-adds",
        "Accuracy on the test images against time",
    ]
    assert (found.latency_name, found.command) == ("torch, 1\u00a0image, 1\u00a0thread", "")
    assert found.notes == ("Timed on Some Processor, 2\u00a0cores.",)
    # As text for those who see no drawing.
    said = f"kd, cifar_resnet20: {scores['kd, cifar_resnet20']}\u00a0% at 41.0\u00a0M, a best trade-off"
    assert said in found.charts[0].drawing


def test_runs_that_were_not_timed_alike_are_named(tmp_path: Path, images: Path) -> None:
    names = ("plain", "kd", "dropkd")
    runs = [build_run(tmp_path / name, images, Recipe(method=name)) for name in names]
    write_cost(runs[0], 0.001)
    write_cost(runs[1], 0.002, processor="Another Processor")
    page = Page(write_comparison(runs, tmp_path / "page.html"))
    # The machine of most, of equally many the first by name.
    assert "Timed on Another Processor, 2 cores." in page.text
    assert "plain and dropkd were not timed in this way." in page.text
    assert f"To time all of them side by side: dropkd cost {runs[0]} {runs[1]} {runs[2]}" in page.text
    write_cost(runs[1], 0.002, measured="2026-11-25T18:00:00+00:00")
    text = Page(write_comparison(runs, tmp_path / "page.html")).text
    assert "dropkd was not timed in this way." in text
    assert "Not all of them were timed in one go" in text


def test_a_comparison_without_any_cost_or_any_finished_run_has_no_such_section(tmp_path: Path, images: Path) -> None:
    runs = [build_run(tmp_path / name, images, Recipe(method=name, done=2)) for name in ("plain", "kd")]
    assert weigh_costs(group_runs([read_run(run) for run in runs]), "test") is None
    assert "Accuracy and cost" not in Page(write_comparison(runs, tmp_path / "page.html")).text


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_holds_just_those_that_nothing_beats(points: list[tuple[int, int]]) -> None:
    places = [Place(str(k), "", x, y) for k, (x, y) in enumerate(points)]
    front = {(places[k].x, places[k].y) for k in find_front(places)}
    unbeaten = {(x, y) for x, y in points if not any((a <= x and b >= y) and (a < x or b > y) for a, b in points)}
    assert front == unbeaten


def test_a_scatter_spans_decades_by_a_logarithmic_axis_and_needs_two_costs() -> None:
    def draw(*xs: float) -> str | None:
        places = [Place(f"<{k}>", "student", x, 0.5 + 0.1 * k, (0.0, 1.0)) for k, x in enumerate(xs)]
        chart = draw_scatter("T", places, x_name="cost", write_x=str, write_x_tick=str, write_y=str, write_y_tick=str)
        return None if chart is None else chart.drawing

    assert draw(5.0) is draw(5.0, 5.0) is None
    assert "cost, logarithmic" in (draw(1e6, 1e8) or "")
    assert "logarithmic" not in (draw(10.0, 40.0) or "")
    assert "&lt;0&gt;" in (draw(1.0, 2.0) or "")
    # Intervals far wider than all points together are cut: no end is drawn then.
    assert "h8" not in (draw(1.0, 2.0) or "")


def test_runs_by_rates_make_a_map_beside_the_papers(tmp_path: Path, images: Path) -> None:
    runs = build_grid(tmp_path, images)
    groups = group_runs([read_run(run) for run in runs])
    (pair,) = draw_grids(groups, "test")
    assert (pair.kind, pair.common) == ("features", "")
    assert pair.own.columns == ("0.3", "0.5", "0.7")
    assert [rate for rate, _ in pair.own.rows] == ["0.7", "0.5", "0.3"]
    cells = {
        (row, column): cell for row, line in pair.own.rows for column, cell in zip(pair.own.columns, line, strict=True)
    }
    for group in groups:
        rates = [str(group.runs[0].setting("method", f"feature_rate_{side}")) for side in ("teacher", "student")]
        scores = group.accuracies("test")
        assert cells[rates[0], rates[1]].text == f"{100 * sum(scores) / len(scores):.1f}"
    assert cells["0.5", "0.5"].hint.endswith("3\u00a0seeds")
    assert cells["0.7", "0.7"].text == "\u2013"
    assert pair.missing == "1\u00a0cell of 9 not run, marked by a dash."
    best = max(float(cell.text) for cell in cells.values() if cell.text != "\u2013")
    assert all(cell.is_best == (cell.text == f"{best}") for cell in cells.values())
    assert {cells[key].shade for key in cells if cells[key].is_best} == {9}
    page = Page(write_comparison(runs, tmp_path / "page.html"))
    assert "The paper\u2019s Figure 2: accuracy on the test images of RAF-DB (basic)." in page.text
    assert "0.5 87.35 88.59 89.18 the best 88.53 87.35" in list_rows(page)


def test_maps_are_kept_apart_by_all_other_settings_and_of_each_kind(tmp_path: Path, images: Path) -> None:
    runs = build_grid(tmp_path, images, width=64.0) + build_grid(tmp_path, images, width=128.0)
    runs += build_grid(tmp_path, images, "logit")
    first, second, logits = draw_grids(group_runs([read_run(run) for run in runs]), "test")
    assert [pair.kind for pair in (first, second, logits)] == ["features", "features", "logits"]
    assert (first.common, second.common) == ("width 64", "width 128")
    assert "Figure 3" in logits.paper.title
    row = build_grid(tmp_path / "row", images)[:3]
    assert draw_grids(group_runs([read_run(run) for run in row]), "test") == ()


def test_the_papers_maps_are_those_of_its_figures() -> None:
    paper = read_paper_grids()
    for kind, best in (("feature", 89.18), ("logit", 89.18)):
        grid = paper[kind]
        at = (grid["teacher_rates"].index(0.5), grid["student_rates"].index(0.5))
        assert grid["accuracies"][at[0]][at[1]] == best == max(v for row in grid["accuracies"] for v in row if v)
    # Cells without a number: four of the features, two of the logits.
    missing = {kind: sum(v is None for row in paper[kind]["accuracies"] for v in row) for kind in ("feature", "logit")}
    assert missing == {"feature": 4, "logit": 2}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, images: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cost pages")
    runs = build_grid(root, images)
    for run in runs:
        write_cost(run, 0.001, teacher=0.01)
    return {"run": write_run_report(runs[0]), "comparison": write_comparison(runs, root / "page.html")}


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_the_pages_are_accessible_whole_and_quiet(
    browser: Browser, check_accessible: Callable[[OpenPage], None], pages: dict[str, Path], name: str
) -> None:
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(pages[name].as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#cost").is_visible()
        assert page.locator("#grids").is_visible() == (name == "comparison")
        check_accessible(page)
    assert heard == []
    page.close()
