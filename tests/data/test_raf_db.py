"""RAF-DB on small trees in its own layout: labels, splits, classes, published numbers, and what may be wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data import open_data
from dropkd.data.raf_db import BASIC_EMOTIONS, COMPOUND_EMOTIONS
from dropkd.errors import ConfigError, DataError

Faces = Callable[..., Path]


def write_faces(root: Path, classes: int, *, train: int = 3, test: int = 1, list_at: str = "EmoLabel") -> Path:
    """Write a tree in the true layout with so many images a class; the grey of an image tells split and label."""
    folder = root / "Image" / "aligned"
    folder.mkdir(parents=True)
    (root / list_at).mkdir(parents=True, exist_ok=True)
    lines = []
    for split, count in (("train", train), ("test", test)):
        for i in range(count * classes):
            label = 1 + i % classes
            name = f"{split}_{i + 1:05}"
            lines.append(f"{name}.jpg {label}")
            Image.new("L", (10, 10), 20 * label + (split == "test")).save(folder / f"{name}_aligned.jpg", quality=95)
    (root / list_at / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def basic(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces", 7)


def list_of(root: Path) -> Path:
    return root / "EmoLabel" / "list_patition_label.txt"


def replace_line(root: Path, number: int, text: str) -> None:
    lines = list_of(root).read_text().splitlines()
    lines[number - 1] = text
    list_of(root).write_text("\n".join(lines))


def test_basic_emotions_have_the_order_of_their_labels_and_the_splits_of_their_names(basic: Path) -> None:
    data = open_data(basic, validation_fraction=0)
    assert data.classes == ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    assert (len(data.train), data.val, len(data.test)) == (21, None, 7)
    for split in (data.train, data.test):
        greys = np.array([split.pack[i].mean() for i in range(len(split))])
        assert np.abs(greys - 20 * (split.targets + 1) - (split.name == "test")).max() < 1
        assert all(path.startswith(f"Image/aligned/{split.name}_") for path in split.relative_paths)


def test_validation_is_cut_from_the_training_images(basic: Path) -> None:
    data = open_data(basic)
    assert data.val.class_counts.tolist() == [1] * 7
    assert all(Path(path).name.startswith("train_") for path in data.val.relative_paths)
    assert "no val split: 7 images cut from train for validation (10 % by class, seed 0)" in data.notes


@pytest.mark.parametrize("list_at", ["", "Image"])
def test_the_list_may_lie_beside_the_images(tmp_path: Path, list_at: str) -> None:
    assert len(open_data(write_faces(tmp_path / "faces", 7, list_at=list_at)).test) == 7


def test_of_a_whole_download_the_basic_part_is_taken_and_the_other_named(tmp_path: Path) -> None:
    write_faces(tmp_path / "RAF" / "basic", 7)
    write_faces(tmp_path / "RAF" / "compound", 11)
    data = open_data(tmp_path / "RAF")
    assert data.classes == BASIC_EMOTIONS
    assert data.train.relative_paths[0].startswith("basic/Image/aligned/train_")
    assert any("the compound ones are a data set of their own" in note for note in data.notes)


def test_compound_emotions_are_told_by_their_labels(tmp_path: Path) -> None:
    data = open_data(write_faces(tmp_path / "faces", 11))
    assert data.classes == COMPOUND_EMOTIONS
    assert data.classes[0] == "Happily Surprised"
    assert data.classes[-1] == "Disgustedly Surprised"
    assert data.test.class_counts.tolist() == [1] * 11
    assert "in brackets): train 33 (3,162), test 11 (792)" in data.notes[0]


def test_other_numbers_than_the_published_ones_are_noted_by_class(basic: Path) -> None:
    (note,) = [note for note in open_data(basic).notes if "published" in note]
    assert note == (
        "RAF-DB has other numbers of images than published (in brackets): train surprise 3 (1,290), "
        "train fear 3 (281), train disgust 3 (717), train happiness 3 (4,772) and 10 more"
    )


def test_nothing_is_said_where_the_numbers_are_the_published_ones(basic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropkd.data.raf_db._BASIC_COUNTS", {"train": (3,) * 7, "test": (1,) * 7})
    assert not [note for note in open_data(basic).notes if "published" in note]


def test_the_published_numbers_add_up() -> None:
    from dropkd.data.raf_db import _BASIC_COUNTS

    assert {split: sum(counts) for split, counts in _BASIC_COUNTS.items()} == {"train": 12271, "test": 3068}


@pytest.mark.parametrize("place", ["beside the list", "elsewhere"])
def test_another_list_gives_training_labels_and_leaves_the_test_labels(
    basic: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = list_of(basic).read_text()
    noisy = clean.replace("train_00001.jpg 1", "train_00001.jpg 7").replace("test_00001.jpg 1", "test_00001.jpg 2")
    monkeypatch.chdir(tmp_path)
    (list_of(basic).with_name("noise.txt") if place == "beside the list" else Path("noise.txt")).write_text(noisy)
    before, after = (open_data(f"{basic}{labels}", validation_fraction=0) for labels in ("", "?labels=noise.txt"))
    assert after.train.class_counts.tolist() == [2, 3, 3, 3, 3, 3, 4]
    first = after.train.relative_paths.index("Image/aligned/train_00001_aligned.jpg")
    assert after.classes[after.train.targets[first]] == "neutral"
    assert after.test.targets.tolist() == before.test.targets.tolist()
    (note,) = [note for note in after.notes if "noise.txt" in note]
    assert note.startswith("training labels from noise.txt: 1 of 21 (4.8%) are other than the data set's")


def test_a_list_in_the_form_of_scns_authors_has_paths_of_aligned_images_and_labels_from_0(basic: Path) -> None:
    lines = [line.split() for line in list_of(basic).read_text().splitlines() if line.startswith("train_")]
    noisy = [(name, (int(label) - 1 if i else 6)) for i, (name, label) in enumerate(lines)]
    text = "\n".join(f"/home/some one/RAF/aligned/{name[:-4]}_aligned.jpg {label}" for name, label in noisy)
    list_of(basic).with_name("0.1noise_train.txt").write_text(text)
    data = open_data(f"{basic}?labels=0.1noise_train.txt", validation_fraction=0)
    assert data.train.class_counts.tolist() == [2, 3, 3, 3, 3, 3, 4]
    assert data.test.class_counts.tolist() == [1] * 7
    (note,) = [note for note in data.notes if "noise" in note]
    assert note.startswith("training labels from 0.1noise_train.txt (which count from 0): 1 of 21 (4.8%) are other")


def test_a_list_that_counts_from_0_and_goes_up_to_7_is_wrong(basic: Path) -> None:
    text = list_of(basic).read_text().replace("train_00001.jpg 1", "train_00001.jpg 0")
    list_of(basic).with_name("noise.txt").write_text(text)
    with pytest.raises(
        DataError, match=r"noise.txt' .*\n  line 1: the label of 'train_00001.jpg' must be 1 to 7, got 0"
    ):
        open_data(f"{basic}?labels=noise.txt")


def test_another_list_must_name_the_same_training_images(basic: Path) -> None:
    other = list_of(basic).with_name("noise.txt")
    lines = list_of(basic).read_text().splitlines()
    other.write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match=r"noise.txt' lacks 1 training image: 'train_00001.jpg'\."):
        open_data(f"{basic}?labels=noise.txt")
    other.write_text("\n".join([*lines, "train_09999.jpg 1"]))
    with pytest.raises(DataError, match=r"noise.txt' has, .* 1 training image: 'train_09999.jpg'\."):
        open_data(f"{basic}?labels=noise.txt")
    with pytest.raises(DataError, match=r"labels=gone.txt: there is no such file"):
        open_data(f"{basic}?labels=gone.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00003.jpg 8", r"line 3: the label of 'train_00003.jpg' must be 1 to 7, got 8"),
        ("train_00003.jpg 0", r"line 3: the label of 'train_00003.jpg' must be 1 to 7, got 0"),
        ("train_00003.jpg five", r"line 3: must look like 'train_00001.jpg 5' .* got 'train_00003.jpg five'"),
        ("train_00003.jpg", r"line 3: must look like .* got 'train_00003.jpg'"),
        ("valid_00003.jpg 3", r"line 3: must look like .* got 'valid_00003.jpg 3'"),
        ("train_00001.jpg 3", r"line 3: 'train_00001.jpg' stands in line 1 already"),
    ],
)
def test_a_line_that_is_wrong_is_named(basic: Path, line: str, message: str) -> None:
    replace_line(basic, 3, line)
    with pytest.raises(DataError, match=message):
        open_data(basic)


def test_many_wrong_lines_are_counted(basic: Path) -> None:
    list_of(basic).write_text("x\n" * 12)
    with pytest.raises(DataError, match=r"(?s)line 1: .*line 10: .*and 2 more$"):
        open_data(basic)


def test_a_list_in_another_encoding_is_named_with_its_line(basic: Path) -> None:
    list_of(basic).write_bytes(b"train_00001.jpg 1\ntrain_0000\xe9.jpg 2\n")
    with pytest.raises(DataError, match=r"line 2: byte 0xe9 is not UTF-8.*save it as UTF-8"):
        open_data(basic)


def test_an_image_that_is_listed_but_absent_is_named(basic: Path) -> None:
    (basic / "Image" / "aligned" / "train_00002_aligned.jpg").unlink()
    with pytest.raises(DataError, match=r"Image/aligned/train_00002_aligned.jpg: no such file"):
        open_data(basic)
    assert len(open_data(basic, skip_unreadable=True, validation_fraction=0).train) == 20


def test_images_that_the_list_does_not_name_are_counted(basic: Path) -> None:
    shutil.copy(*(basic / "Image" / "aligned" / f"train_{n}_aligned.jpg" for n in ("00001", "09999")))
    assert "ignored 1 image in aligned/ that the list does not name" in open_data(basic).notes


def test_a_missing_list_is_called_by_its_name(basic: Path) -> None:
    list_of(basic).unlink()
    with pytest.raises(DataError, match=r"no list_patition_label.txt \(spelt so\)\. Expected: EmoLabel/list_patition"):
        open_data(basic)


def test_a_list_whose_name_was_corrected_is_to_be_renamed(basic: Path) -> None:
    list_of(basic).rename(list_of(basic).with_name("list_partition_label.txt"))
    with pytest.raises(DataError, match=r"There is '.*EmoLabel/list_partition_label.txt': rename it"):
        open_data(basic)


def test_images_that_are_still_packed_are_to_be_unpacked(basic: Path) -> None:
    shutil.rmtree(basic / "Image" / "aligned")
    (basic / "Image" / "aligned.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"has no folder Image/aligned\. Unpack aligned.zip there\."):
        open_data(basic)


def test_a_class_without_images_is_named(basic: Path) -> None:
    lines = [line for line in list_of(basic).read_text().splitlines() if not line.endswith(" 2")]
    list_of(basic).write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"there is no image of class 'fear' in train\."):
        open_data(basic)


def test_an_option_that_is_not_known_is_refused_with_a_suggestion(basic: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'label' .* It has: labels\. Did you mean 'labels'\?"):
        open_data(f"{basic}?label=x.txt")
