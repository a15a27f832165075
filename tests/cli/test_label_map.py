"""A teacher of other classes by the command line: the bundled one knows ten kinds of clothes, the data have three."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dropkd.demo.demo import TEACHER, TEACHER_FILE
from dropkd.demo.images import CLASSES

Cli = Callable[..., tuple[int, str, str]]
TEN = ("--teacher", f"{TEACHER}:{TEACHER_FILE}")
BRIEF = ("--student", "cifar_resnet8", "--epochs", 1, "--batch-size", 16, "--output", "run")


@pytest.fixture
def table(photos: Path) -> Path:
    path = Path("map.csv")
    path.write_text("teacher,own\ntrouser,trouser\nsandal,sandal\nsneaker,sandal\nankle_boot,ankle_boot\n")
    return path


def test_a_mapped_teacher_is_checked_and_distilled_in_the_datas_classes(cli: Cli, photos: Path, table: Path) -> None:
    code, out, err = cli("distill", photos, *TEN, *BRIEF, "--method", "kd", "--label-map", table)
    assert (code, err) == (0, "")
    assert "Label map: 4 of the teacher's 10 classes stand for your 3; 6 lead nowhere and are left out" in out
    accuracy = float(out.split("The teacher gets ")[1].split("%")[0])
    assert accuracy > 90
    written = yaml.safe_load(Path("run/config.yaml").read_text())
    assert written["teacher"]["label_map"] == str(table.absolute())
    assert "agrees with teacher" in out


def test_without_a_map_the_message_names_the_way(cli: Cli, photos: Path) -> None:
    code, _, said = cli("distill", photos, *TEN, *BRIEF, "--method", "kd")
    assert code == 2
    assert "The teacher has 10 classes and the data 3" in said
    assert "--label-map" in said


def test_each_mistake_of_a_map_is_a_line(cli: Cli, photos: Path, table: Path) -> None:
    table.write_text("teacher,own\ntrowser,trouser\nsandal,sandals\n")
    code, _, said = cli("distill", photos, *TEN, *BRIEF, "--method", "kd", "--label-map", table)
    assert code == 2
    assert said.splitlines() == [
        "error: map.csv, line 2: the teacher has no class 'trowser'. Did you mean 'trouser'?",
        "error: map.csv, line 3: your data has no class 'sandals'. Did you mean 'sandal'?",
        "error: The label map leads to 1 of your 3 classes; no teacher's class is named for 'ankle_boot', 'sandal'.",
    ]
    assert not Path("run").exists()


def test_a_map_needs_a_teacher(cli: Cli, photos: Path, table: Path) -> None:
    code, _, said = cli("distill", photos, *BRIEF, "--label-map", table)
    assert code == 2
    assert "--teacher is missing: the network to learn from" in said


def test_a_map_that_is_not_there_is_told(cli: Cli, photos: Path) -> None:
    code, _, said = cli("distill", photos, *TEN, *BRIEF, "--label-map", "none.csv")
    assert (code, said) == (2, "error: There is no label map 'none.csv'.\n")


def test_the_teacher_check_sees_the_datas_classes(cli: Cli, photos: Path, table: Path) -> None:
    # As if the teacher had learned its classes in the order of the data set and not in that of the alphabet.
    rows = [f"{number},{name}" for number, name in enumerate(CLASSES) if name in ("ankle_boot", "trouser", "sandal")]
    table.write_text("\n".join(["teacher,own", *rows]))
    code, out, said = cli("distill", photos, *TEN, *BRIEF, "--method", "kd", "--label-map", table)
    assert code == 2
    assert "3 of the teacher's 10 classes stand for your 3" in out
    assert "The teacher gets" in said


def test_numbers_in_the_teachers_order_serve_as_well(cli: Cli, photos: Path, table: Path) -> None:
    rows = [f"{sorted(CLASSES).index(name)},{name}" for name in ("ankle_boot", "trouser", "sandal")]
    table.write_text("\n".join(["teacher,own", *rows]))
    code, _, said = cli("distill", photos, *TEN, *BRIEF, "--method", "dropkd", "--label-map", table)
    assert (code, said) == (0, "")
