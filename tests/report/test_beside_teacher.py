from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dropkd.report import write_run_report
from dropkd.report.beside_teacher import describe_beside
from dropkd.report.run_record import read_run

from .label_runs import build_label_run, write_pairs
from .pages import Page
from .run_folders import Recipe, build_run


def _write_answers(folder: Path, student: list[int], teacher: list[int] | None, target: list[int]) -> None:
    nobody = [None] * len(target)
    columns = {
        "split": ["test"] * len(target), "path": [f"test/{n}.png" for n in range(len(target))], "target": target,
        "prediction": student, "teacher_prediction": pa.array(nobody if teacher is None else teacher, pa.int64()),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "predictions.parquet")


def _read_test_rows(run: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(run / "predictions.parquet").to_pylist()
    return {row["path"]: row for row in rows if row["split"] == "test"}


def test_what_was_passed_on_is_counted_on_the_images_that_all_three_answered(tmp_path: Path) -> None:
    target = [0] * 12
    teacher = [0] * 8 + [1] * 4
    alone = [0] * 3 + [1] * 5 + [0, 1, 2, 2]
    student = [0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 2]
    _write_answers(tmp_path / "run", student, teacher, target)
    _write_answers(tmp_path / "run" / "baseline", alone, None, target)
    scores = {"images": 12, "accuracy": 0.5, "agreement": 0.5}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"splits": {"test": scores}, "method": "kd"}))
    (tmp_path / "run" / "baseline" / "metrics.json").write_text(json.dumps({"splits": {"test": scores}}))
    found = describe_beside(read_run(tmp_path / "run"), "test")
    assert found is not None
    words = " ".join(found.words).replace("\u00a0", " ")
    assert (
        "Of the 5 images that the teacher has right and the student alone wrong, it has 3 right now (60.0 %)" in words
    )
    assert "of those that both had right it lost 1." in words
    # It gives the teacher's answer to 7 images of 12, the one alone to 4.
    assert "the teacher\u2019s answer 25.0 points more often than the same student trained alone" in words
    assert found.counts == ("5", "1", "3", "3")
    assert found.rows[0].alone == "33.3\u00a0%"


def test_the_figures_stand_with_their_intervals_and_those_of_the_student_alone(run: Path) -> None:
    scores = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    found = describe_beside(read_run(run), "test")
    assert found is not None
    rows = {row.name: row for row in found.rows}
    low, high = scores["intervals"]["agreement"]
    agreement = rows["Same answer as the teacher"]
    assert agreement.student == f"{100 * scores['agreement']:.1f}\u00a0%"
    assert agreement.interval == f"{100 * low:.1f} to {100 * high:.1f}\u00a0%"
    mine, plain = (_read_test_rows(place) for place in (run, run / "baseline"))
    assert mine.keys() == plain.keys()
    same = np.mean([mine[path]["teacher_prediction"] == plain[path]["prediction"] for path in mine])
    assert agreement.alone == f"{100 * same:.1f}\u00a0%"
    assert sum(map(int, found.counts or ())) == scores["images"]


def test_a_run_without_a_teacher_has_no_such_section(tmp_path: Path, images: Path) -> None:
    page = Page(write_run_report(build_run(tmp_path / "run", images, Recipe(method="plain"))))
    assert 'id="teacher"' not in page.source


def test_without_a_plain_run_nothing_is_said_of_it(tmp_path: Path, images: Path) -> None:
    text = Page(write_run_report(build_run(tmp_path / "run", images, Recipe()))).text
    section = text.partition("What of the teacher is in it")[2].partition("Mistakes")[0]
    assert "Same answer as the teacher" in section
    assert "alone" not in section


def test_images_with_several_labels_are_right_where_all_labels_are(tmp_path: Path) -> None:
    run = build_label_run(tmp_path / "run", write_pairs(tmp_path / "data"))
    found = describe_beside(read_run(run), "test")
    assert found is not None
    sets = read_run(run).label_sets["test"]
    assert found.counts is not None
    right = int(((sets.student >= 0.5) == sets.target).all(1).sum())
    assert int(found.counts[0]) + int(found.counts[1]) == right
    assert re.search("Same labels as the teacher", Page(write_run_report(run)).text)
