"""ImageNet's folder and Tiny-ImageNet's layout, on small trees: what is test, what is cut, what may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from dropkd.data import open_data
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]
WNIDS = ("n02124075", "n01443537", "n02012849")


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "JPEG")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root, lines = tmp_path / "tiny-imagenet-200", []
    for k, wnid in enumerate(WNIDS):
        for i in range(4):
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x_0.JPEG\t0\t0\t1\t1\n")
        save(root / "val" / "images" / f"val_{k}.JPEG")
        lines.append(f"val_{k}.JPEG\t{wnid}\t0\t32\t44\t62")
    save(root / "test" / "images" / "test_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "words.txt").write_text(
        "n01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat\nn02012849\tcrane\n"
    )
    return root


def test_tiny_imagenet_is_tested_on_its_validation_images_and_validated_on_training_images(tiny: Path) -> None:
    data = open_data(tiny)
    assert data.classes == ("goldfish", "crane", "Egyptian cat")
    assert data.test.relative_paths == ("val/images/val_1.JPEG", "val/images/val_2.JPEG", "val/images/val_0.JPEG")
    assert data.test.targets.tolist() == [0, 1, 2]
    assert [len(split) for split in data.splits] == [9, 3, 3]
    assert all(path.startswith("train/n0") for path in data.val.relative_paths)
    assert data.notes[0].startswith("results are reported on the images of val/: they are the test split here")
    assert data.notes[1] == (
        "Tiny-ImageNet has other numbers of images than published (in brackets): train 12 (100,000), test 3 (10,000)"
    )


def test_words_that_two_classes_share_are_told_apart(tiny: Path) -> None:
    (tiny / "words.txt").write_text("n01443537\tcrane\nn02012849\tcrane, bird\n")
    assert open_data(tiny).classes == ("crane (n01443537)", "crane (n02012849)", "n02124075")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_1.JPEG\tn01443538\t0", r"line 2: train/ has no class 'n01443538'\. Did you mean 'n01443537'\?"),
        ("val_0.JPEG\tn01443537\t0", r"line 2: 'val_0.JPEG' stands in the list already"),
        ("val_1.JPEG", r"line 2: must look like 'val_0.JPEG n03444034', got 'val_1.JPEG'"),
    ],
)
def test_a_wrong_line_of_the_list_is_named(tiny: Path, line: str, message: str) -> None:
    file = tiny / "val" / "val_annotations.txt"
    lines = file.read_text().splitlines()
    lines[1] = line
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        open_data(tiny)


def test_tiny_imagenet_without_its_list_or_an_image_is_refused(tiny: Path) -> None:
    (tiny / "val" / "images" / "val_1.JPEG").unlink()
    with pytest.raises(DataError, match=r"val/images/val_1.JPEG: no such file"):
        open_data(tiny)
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"looks like Tiny-ImageNet but has no val/val_annotations.txt"):
        open_data(tiny)


@pytest.fixture
def imagenet(tree: Tree) -> Path:
    counts = {f"{split}/{wnid}": 4 for split in ("train", "val") for wnid in WNIDS}
    return tree({**counts, "test": 3})


def test_imagenet_is_tested_on_its_validation_images_and_validated_on_training_images(imagenet: Path) -> None:
    data = open_data(imagenet)
    assert data.classes == tuple(sorted(WNIDS))
    assert [len(split) for split in data.splits] == [9, 3, 12]
    assert all(path.startswith("val/") for path in data.test.relative_paths)
    assert data.notes[0].startswith("results are reported on the images of val/")
    assert "ignored 1 folder beside train/: test" in data.notes
    assert data.notes[-1] == "no val split: 3 images cut from train for validation (10 % by class, seed 0)"


def test_other_numbers_than_imagenets_are_noted(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = [note for note in open_data(imagenet).notes if "published" in note]
    assert note == (
        "ImageNet has other numbers of images than published (in brackets): "
        "classes 3 (1,000), train 12 (1,281,167), test 12 (50,000)"
    )
    monkeypatch.setattr("dropkd.data.imagenet._COUNTS", {"classes": 3, "train": 12, "test": 12})
    assert not [note for note in open_data(imagenet).notes if "published" in note]


def test_a_labelled_test_folder_stays_the_test_split(imagenet: Path, tree: Tree) -> None:
    root = tree({f"{split}/{wnid}": 2 for split in ("train", "val", "test") for wnid in WNIDS}, name="own")
    data = open_data(root)
    assert data.val.relative_paths[0].startswith("val/")
    assert data.test.relative_paths[0].startswith("test/")


def test_other_class_folders_keep_their_validation_split(tree: Tree) -> None:
    data = open_data(tree({f"{split}/{name}": 2 for split in ("train", "val") for name in ("cat", "dog")}))
    assert data.test is None
    assert len(data.val) == 4


def test_validation_images_that_are_not_sorted_are_to_be_sorted(imagenet: Path) -> None:
    for wnid in WNIDS:
        for file in (imagenet / "val" / wnid).iterdir():
            file.rename(imagenet / "val" / f"ILSVRC2012_val_{wnid}_{file.name}")
        (imagenet / "val" / wnid).rmdir()
    with pytest.raises(DataError, match=r"val' holds 12 images but no folder per class\. Sort them into folders"):
        open_data(imagenet)


def test_a_class_that_the_validation_images_lack_is_named(imagenet: Path) -> None:
    for file in (imagenet / "val" / WNIDS[0]).iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"val/ lacks 'n02124075'\."):
        open_data(imagenet)


def test_neither_has_options(imagenet: Path, tiny: Path) -> None:
    for root in (imagenet, tiny):
        with pytest.raises(ConfigError, match=r"unknown option 'labels' for this kind of data\. It has none\."):
            open_data(f"{root}?labels=x")
