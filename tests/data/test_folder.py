from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dropkd.data import open_data
from dropkd.errors import DataError

Tree = Callable[..., Path]


def test_a_missing_folder_is_named_with_the_nearest_one(tree: Tree) -> None:
    root = tree({"cat": 3, "dog": 3}, name="flowers")
    with pytest.raises(DataError, match=r"the data folder '.*flower' does not exist\. Did you mean 'flowers'\?"):
        open_data(root.with_name("flower"))


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.zip").touch()
    with pytest.raises(DataError, match=r"got the file '.*data\.zip'\. Unpack archives first\."):
        open_data(tmp_path / "data.zip")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images\. Expected: train/CLASS/\* and test/CLASS/\*"):
        open_data(tmp_path)


def test_folders_without_any_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"'.*train' holds no images\. Expected: "):
        open_data(tmp_path)


def test_files_of_unknown_kinds_are_named_where_no_image_is_found(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "1.heic").touch()
    with pytest.raises(DataError, match=r"train' holds no images \(1 file that is no image: train/cat/1\.heic\)\."):
        open_data(tmp_path)


def test_images_without_class_folders_are_refused(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"holds 3 images but no folder per class\. Expected: "):
        open_data(tree({".": 3}))
    with pytest.raises(DataError, match=r"train' holds 3 images but no folder per class\. Expected: "):
        open_data(tree({"train": 3, "test/cat": 2}, name="other"))


@pytest.mark.parametrize("folders", [{"cat": 4}, {"train/cat": 4, "test/cat": 4}, {"train/cat": 4, "train/dog": 0}])
def test_a_single_class_is_refused(tree: Tree, folders: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"has one class with images, 'cat'; a classifier needs two at least"):
        open_data(tree(folders))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"cat": 1, "dog": 5}, r"each class needs 3 images at least.* but 'cat' has 1\. Add images"),
        (
            {"cat": 2, "dog": 5},
            r"each class needs 3 images at least.* but 'cat' has 2\. .*val/ and test/ folders",
        ),
        (
            {"train/cat": 1, "train/dog": 1},
            r"each class needs 2 images at least.*'cat' has 1, 'dog' has 1\. .*a val/ ",
        ),
    ],
)
def test_a_class_with_too_few_images_to_be_split_is_named(tree: Tree, folders: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(tree(folders))


def test_a_class_with_one_image_trains_where_nothing_is_cut(tree: Tree) -> None:
    folders = {f"{split}/{name}": 1 for split in ("train", "val", "test") for name in ("cat", "dog")}
    assert len(open_data(tree(folders)).train) == 2


def test_a_split_folder_inside_itself_is_refused_and_shown(tree: Tree) -> None:
    root = tree({"train/train/cat": 3, "train/train/dog": 2})
    with pytest.raises(DataError, match=r"found in train/train/cat/ \(3 images\), train/train/dog/ \(2 images\)\. "):
        open_data(root)


def test_a_folder_below_a_class_is_refused_and_shown(tree: Tree) -> None:
    root = tree({"train/cat/close": 1, "train/cat": 4, "train/dog": 4})
    with pytest.raises(DataError, match=r"too deep, they were found in train/cat/close/ \(1 image\)\. .*Move them up"):
        open_data(root)


@pytest.mark.parametrize("inner", ["train/cat", "cat"])
def test_a_data_folder_inside_a_folder_is_offered(tree: Tree, inner: str) -> None:
    root = tree({f"pets/{inner}": 3, f"pets/{inner}2": 3})
    with pytest.raises(DataError, match=r"Perhaps you mean the folder '.*data/pets'\."):
        open_data(root)


def test_many_misplaced_folders_are_listed_in_short(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"train/cat/04/ \(1 image\) and 15 more\. "):
        open_data(tree({f"train/cat/{i:02}": 1 for i in range(20)}))


def test_classes_that_differ_between_train_and_test_are_named(tree: Tree) -> None:
    root = tree({"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/doge": 1, "val/cat": 1, "val/dog": 1})
    message = r"same classes\. test/ lacks 'dog'\. test/ has 'doge', which train/ lacks\. Did you mean 'dog'\?$"
    with pytest.raises(DataError, match=message):
        open_data(root)


def test_an_empty_class_folder_in_test_counts_as_missing(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"test/ lacks 'dog'\."):
        open_data(tree({"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 0}))


def test_a_test_folder_without_train_is_refused(tree: Tree) -> None:
    with pytest.raises(DataError, match=r"has test/ but no train/ folder"):
        open_data(tree({"test/cat": 2, "test/dog": 2}))


def test_two_validation_folders_are_refused(tree: Tree) -> None:
    folders = {f"{split}/{name}": 2 for split in ("train", "val", "valid") for name in ("cat", "dog")}
    with pytest.raises(DataError, match=r"two folders for one split: 'val' and 'valid'\. Keep one\."):
        open_data(tree(folders))


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_the_validation_folder_has_several_names(tree: Tree, name: str) -> None:
    folders = {f"{split}/{label}": 2 for split in ("train", name) for label in ("cat", "dog")}
    data = open_data(tree(folders))
    assert {path.parts[-3] for path in data.val.paths} == {name}


def test_a_class_may_be_called_train(tree: Tree) -> None:
    data = open_data(tree({"train": 5, "plane": 5, "car": 5}))
    assert data.classes == ("car", "plane", "train")


def test_files_that_are_no_images_are_ignored_with_a_note(whole: Path) -> None:
    (whole / "train" / "cat" / "list.csv").touch()
    (whole / "readme.txt").touch()
    data = open_data(whole)
    assert len(data.train) == 8
    assert data.notes == ("ignored 2 files that are no images: readme.txt, train/cat/list.csv",)


def test_hidden_files_and_folders_are_passed_over(whole: Path) -> None:
    (whole / "train" / "cat" / "._0.png").touch()
    (whole / "train" / ".ipynb_checkpoints").mkdir()
    (whole / "train" / ".ipynb_checkpoints" / "0.png").touch()
    (whole / ".git").mkdir()
    data = open_data(whole)
    assert (len(data.train), data.notes) == (8, ())


def test_strays_and_empty_folders_are_noted(tree: Tree) -> None:
    root = tree({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1, "train": 1, "train/bird": 0, "raw": 0})
    assert open_data(root).notes == (
        "ignored 1 folder beside train/: raw",
        "ignored 1 image outside the class folders: train/0.png",
        "ignored 1 folder without images: train/bird",
        "no test/ folder: there will be no test figures",
    )


def test_links_to_images_and_folders_are_followed(tree: Tree, tmp_path: Path) -> None:
    root = tree({"train/cat": 3, "val/cat": 1, "val/dog": 1})
    (root / "train" / "dog").symlink_to(tree({"dogs": 3}, name="elsewhere") / "dogs")
    (root / "train" / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "dogs" / "0.png")
    data = open_data(root)
    assert data.train.relative_paths[3:] == ("train/cat/link.png", *(f"train/dog/{i}.png" for i in range(3)))


def test_a_broken_link_is_reported_as_unreadable(whole: Path, tmp_path: Path) -> None:
    (whole / "train" / "cat" / "link.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(DataError, match=r"train/cat/link\.png: no such file \(a broken link\?\)"):
        open_data(whole)


def test_a_pipe_that_is_named_like_an_image_is_not_waited_for(whole: Path) -> None:
    os.mkfifo(whole / "train" / "cat" / "pipe.png")
    assert len(open_data(whole).train) == 8


def test_a_loop_of_links_ends(whole: Path) -> None:
    (whole / "train" / "cat" / "loop").symlink_to(whole)
    with pytest.raises(DataError, match="images lie too deep"):
        open_data(whole)
