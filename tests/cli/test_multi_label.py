"""Images with several labels from the command line: what a user types, sees and finds."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

Cli = Callable[..., tuple[int, str, str]]
SMALL = ("--epochs", "2", "--batch-size", "16", "--lr", "0.005")


@pytest.fixture(scope="module")
def run(outfits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that knows the labels a little. Read only."""
    from dropkd.cli import run_command_line

    folder = tmp_path_factory.mktemp("runs") / "teacher"
    arguments = ["--model", "cifar_resnet8", "--epochs", "6", "--batch-size", "16", "--lr", "0.005"]
    assert run_command_line(["train", str(outfits), *arguments, "--output", str(folder)]) == 0
    return folder


def test_a_student_is_distilled_and_its_map_stands_beside_its_teachers(
    cli: Cli, outfits: Path, run: Path, tmp_path: Path
) -> None:
    student = ("--student", "cifar_resnet8", "--output", tmp_path / "run", *SMALL)
    code, out, err = cli("distill", outfits, "--teacher", run, "--method", "kd", *student)
    assert code == 0, err
    assert re.search(r"The teacher's mAP on 128 training and validation images is [\d.]+%; a random order has", out)
    assert re.search(r"kd  epoch 2/2  loss [\d.]+  train all right +[\d.]+ %  val mAP +[\d.]+ %", out)
    assert re.search(r"mAP .*val.*test.*micro F1", out)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "mean average precision" in page


def test_a_method_of_one_class_is_refused_with_those_that_can_be_used(cli: Cli, outfits: Path, run: Path) -> None:
    code, _, err = cli("distill", outfits, "--teacher", run, "--student", "cifar_resnet8", "--method", "dkd", *SMALL)
    assert code == 2
    assert "error: DKD needs one class for each image" in err
    assert "dropkd or kd" in err
    assert "Traceback" not in err


def test_evaluation_prints_the_scores_of_labels(cli: Cli, run: Path) -> None:
    code, out, _ = cli("evaluate", run, "--split", "test")
    assert code == 0
    assert "mAP" in out
    assert "all right" in out
    assert "UAR" not in out
    code, out, _ = cli("evaluate", run, "--json")
    scores = json.loads(out)["test"]
    assert set(scores) >= {"map", "micro_f1", "macro_f1", "exact_match", "class_ap", "loss", "images"}
    assert len(scores["class_ap"]) == 5


def test_predictions_name_all_labels_of_an_image(cli: Cli, run: Path, outfits: Path, tmp_path: Path) -> None:
    images = sorted((outfits.parent / "test").glob("*.png"))[:6]
    code, out, _ = cli("predict", run, *images)
    assert code == 0
    assert "labels" in out
    for suffix in ("csv", "json", "parquet"):
        assert cli("predict", run, *images, "--output", tmp_path / f"answers.{suffix}")[0] == 0
    named = [row["labels"] for row in json.loads((tmp_path / "answers.json").read_text())]
    with (tmp_path / "answers.csv").open(newline="") as file:
        assert [row["labels"] for row in csv.DictReader(file)] == [";".join(labels) for labels in named]
    table = pq.read_table(tmp_path / "answers.parquet").to_pydict()
    assert table["labels"] == named
    for labels, top in zip(named, table["top"], strict=True):
        assert labels == [entry["label"] for entry in top if entry["probability"] >= 0.5]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("list.csv?labels=tags", "there is no column 'tags' in list.csv. It has: path, labels, split."),
        ("list.csv?classes=feet,legs", "line 3: unknown label"),
        ("list.csv?classes=feet", "classes=feet is no file"),
        ("list.csv?lables=x", "unknown option 'lables' for this kind of data. It has: labels, classes. Did you mean"),
    ],
)
def test_mistakes_are_told_in_the_users_words(cli: Cli, outfits: Path, data: str, message: str) -> None:
    code, _, err = cli("train", f"{outfits.parent}/{data}", "--model", "cifar_resnet8", *SMALL)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
