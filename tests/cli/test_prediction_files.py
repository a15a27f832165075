from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dropkd.cli.prediction_files import find_images, print_predictions, write_predictions
from dropkd.errors import DataError, RunError
from dropkd.run import Prediction

PREDICTIONS = [
    Prediction(Path("a.png"), "cat", 0.75, (("cat", 0.75), ("dog", 0.25))),
    Prediction(Path("=cmd|x.png"), "-dog", 0.5, (("-dog", 0.5), ("@cat", 0.5))),
]


def test_csv_has_a_row_for_each_image_and_a_column_for_each_rank(tmp_path: Path) -> None:
    write_predictions(PREDICTIONS[:1], tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "path": "a.png",
            "label": "cat",
            "probability": "0.750000",
            "label_2": "dog",
            "probability_2": "0.250000",
        }
    ]


def test_a_cell_that_a_spreadsheet_would_run_is_made_text(tmp_path: Path) -> None:
    write_predictions(PREDICTIONS, tmp_path / "answers.csv")
    line = (tmp_path / "answers.csv").read_text().splitlines()[2]
    assert line == "'=cmd|x.png,'-dog,0.500000,'@cat,0.500000"


def test_json_holds_names_as_they_are(tmp_path: Path) -> None:
    write_predictions(PREDICTIONS, tmp_path / "answers.JSON")
    rows = json.loads((tmp_path / "answers.JSON").read_text())
    assert rows[1] == {
        "path": "=cmd|x.png",
        "label": "-dog",
        "probability": 0.5,
        "top": [{"label": "-dog", "probability": 0.5}, {"label": "@cat", "probability": 0.5}],
    }


def test_parquet_holds_the_same_rows_as_json(tmp_path: Path) -> None:
    write_predictions(PREDICTIONS, tmp_path / "answers.json")
    write_predictions(PREDICTIONS, tmp_path / "answers.parquet")
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert rows == json.loads((tmp_path / "answers.json").read_text())


def test_no_predictions_give_a_file_without_rows(tmp_path: Path) -> None:
    write_predictions([], tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text() == "path,label,probability\n"


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"must end in one of \.csv, \.json, \.parquet, got '\.xlsx'"):
        write_predictions(PREDICTIONS, tmp_path / "answers.xlsx")


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        write_predictions(PREDICTIONS, tmp_path / "none" / "answers.csv")
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(RunError, match="a folder of this name is in the way"):
        write_predictions(PREDICTIONS, tmp_path / "answers.csv")


def test_folders_are_searched_for_images(tmp_path: Path) -> None:
    for name in ("b.png", "deep/a.JPG", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_images([tmp_path, Path("c.gif")]) == [
        tmp_path / "b.png",
        tmp_path / "deep/a.JPG",
        Path("c.gif"),
    ]
    with pytest.raises(DataError, match="There is no image in the folder"):
        find_images([tmp_path / "none.d", *[p for p in [tmp_path / "empty"] if p.mkdir() is None]])


def test_the_table_shows_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions([Prediction(Path("[red]a\x1b[31m.png"), "[b]cat", 1.0, (("[b]cat", 1.0),))])
    shown = capsys.readouterr().out
    assert "[red]a\N{REPLACEMENT CHARACTER}[31m.png" in shown
    assert "[b]cat" in shown
