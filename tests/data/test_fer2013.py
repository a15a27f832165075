from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dropkd.data import open_data
from dropkd.errors import ConfigError, DataError

faces = np.random.default_rng(0).integers(0, 256, (35, 48, 48), dtype=np.uint8)


def face_row(i: int, usage: str) -> str:
    return f"{i % 7},{' '.join(map(str, faces[i].reshape(-1)))},{usage}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    usages = ["Training"] * 21 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
    lines = ["emotion,pixels,Usage", *(face_row(i, usage) for i, usage in enumerate(usages))]
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "fer2013.csv"


def replace_line(file: Path, number: int, text: str) -> None:
    lines = file.read_text().splitlines()
    lines[number - 1] = text
    file.write_text("\n".join(lines))


def test_public_and_private_test_are_validation_and_test(file: Path) -> None:
    data = open_data(file)
    assert data.classes == ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
    assert [len(split) for split in data.splits] == [21, 7, 7]
    assert (data.val.pack[3] == faces[24][..., None]).all()
    assert data.test.targets.tolist() == list(range(7))
    assert data.test.relative_paths[3] == "test/Happy/00003"
    assert data.notes == (
        "PublicTest is the validation split, PrivateTest the test split",
        "FER2013 has other numbers of faces than published (in brackets): "
        "train 21 (28,709), val 7 (3,589), test 7 (3,589)",
    )


def test_without_usage_the_faces_are_cut_in_three(file: Path) -> None:
    text = "\n".join(line.rpartition(",")[0] for line in file.read_text().splitlines())
    file.write_text(text)
    assert [len(split) for split in open_data(file).splits] == [21, 7, 7]


def test_columns_may_stand_otherwise_and_have_spaces_before_their_names(file: Path) -> None:
    lines = [line.split(",") for line in file.read_text().splitlines()]
    lines[0] = ["emotion", " pixels", " Usage"]
    file.write_text("\n".join(",".join((a, c, b)) for a, b, c in lines))
    assert (open_data(file).val.pack[3] == faces[24][..., None]).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (face_row(2, "Training").replace("2,", "7,", 1), r"line 4: the emotion must be 0 to 6, got '7'"),
        (face_row(2, "Training").replace("2,", "sad,", 1), r"line 4: the emotion must be 0 to 6, got 'sad'"),
        (face_row(2, "Test"), r"line 4: Usage must be Training, PublicTest, PrivateTest, got 'Test'"),
        ("2,1 2 3,Training", r"line 4: the pixels must be 2304 numbers from 0 to 255, got '1 2 3' and so on"),
        ("2," + "x " * 2304 + ",Training", r"line 4: the pixels must be 2304 numbers"),
        ("2," + "256 " * 2304 + ",Training", r"line 4: the pixels must be 2304 numbers"),
        ("2,1 2 3", r"line 4: must have 3 cells, got 2"),
        (face_row(2, ""), r"1 rows have no Usage, but others have one"),
    ],
)
def test_a_row_that_is_wrong_is_named(file: Path, line: str, message: str) -> None:
    replace_line(file, 4, line)
    with pytest.raises(DataError, match=message):
        open_data(file)


def test_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\xff")
    with pytest.raises(DataError, match="as CSV in UTF-8"):
        open_data(file)


def test_a_file_without_faces_or_with_options_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'labels'"):
        open_data(f"{file}?labels=x")
    file.write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataError, match="lists no faces"):
        open_data(file)
