"""Methods of the student alone, by their commands: SCN, whose run says how many labels it changed, and EAC."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.cli.tables import print_outcome
from dropkd.run import Run

Cli = Callable[..., tuple[int, str, str]]

BUDGET = ("--epochs", 3, "--batch-size", 16, "--lr", 0.005, "--output", "run")


@pytest.mark.parametrize("verb", [("train", "--model"), ("distill", "--student")], ids=lambda verb: verb[0])
def test_scn_says_how_many_labels_it_changed(cli: Cli, photos: Path, verb: tuple[str, str]) -> None:
    name, flag = verb
    options = ("--set", "method.name=scn", "--set", "method.relabel_epoch=2", "--set", "method.relabel_margin=0.0")
    code, out, err = cli(name, photos, flag, "cifar_resnet8", *options, *BUDGET)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(Path("run/relabelled.csv").read_text().splitlines()))
    images = len({row["path"] for row in rows})
    times = "" if len(rows) == images else f" ({len(rows)} times in all)"
    count = json.loads(Path("run/metrics.json").read_text())["train_images"]
    line = f"labels   {images} of {count} training images were given another class{times}: run/relabelled.csv"
    assert line in out.splitlines()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (1, "1 of 65 training images was given another class: "),
        (3, "1 of 65 training images was given another class (3 times in all): "),
    ],
)
def test_one_image_is_said_in_the_singular(
    cli: Cli, photos: Path, capsys: pytest.CaptureFixture[str], changes: int, words: str
) -> None:
    assert cli("train", photos, "--model", "cifar_resnet8", *BUDGET, "--epochs", 1)[0] == 0
    path = Path("run/metrics.json")
    metrics = json.loads(path.read_text()) | {"train_images": 65, "relabelled": {"images": 1, "changes": changes}}
    path.write_text(json.dumps(metrics))
    print_outcome(Run(Path("run")))
    assert f"labels   {words}run/relabelled.csv" in capsys.readouterr().out


def test_eac_trains_and_has_nothing_to_say_of_labels(cli: Cli, photos: Path) -> None:
    options = ("--set", "method.name=eac", "--set", "method.erasing=independent", "--set", "data.erase_probability=0.5")
    code, out, err = cli("train", photos, "--model", "cifar_resnet8", *options, *BUDGET)
    assert (code, err) == (0, "")
    assert "% consistency" in out
    assert "another class" not in out


def test_a_student_whose_map_is_widened_is_refused_with_the_way_out(cli: Cli, photos: Path) -> None:
    options = ("--set", "method.name=eac", "--set", "student.pretrained=false")
    code, _, err = cli("train", photos, "--model", "mobilenetv2_100", *options, *BUDGET)
    assert code == 2
    assert "student.map_modules" in err
    assert not Path("run").exists()
    named = ("--set", "student.map_modules=[blocks.4, bn2]", "--set", "training.epochs=1")
    assert cli("train", photos, "--model", "mobilenetv2_100", *options, *BUDGET, *named, "--epochs", 1)[0] == 0
