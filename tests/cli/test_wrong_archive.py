"""What is given in place of a data set: archives, their folders, lists that lack; each told with what to do."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def refuse(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a training on data that must be refused, in an empty folder; return what it says."""
    monkeypatch.chdir(tmp_path)

    def run(data: str) -> str:
        before = sorted(Path().rglob("*"))
        code, _, said = cli("train", data, "--model", "cifar_resnet8", "--output", "run")
        assert code == 2, said
        assert said.startswith("error: ")
        assert sorted(Path().rglob("*")) == before
        return said

    return run


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        content = {"data": np.zeros((200, 3072), np.uint8), "fine_labels": [k % 100 for k in range(200)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"thing_{k}" for k in range(100)]}))


def write_faces(root: Path, rows: str) -> Path:
    (root / "Image" / "aligned").mkdir(parents=True)
    (root / "EmoLabel").mkdir()
    for number in range(1, 15):
        Image.new("RGB", (10, 10)).save(root / "Image" / "aligned" / f"train_{number:05}_aligned.jpg")
    path = root / "EmoLabel" / "list_patition_label.txt"
    path.write_text(rows)
    return path


ROWS = "".join(f"train_{number:05}.jpg {1 + number % 7}\n" for number in range(1, 15))


def test_an_archive_is_told_with_the_command_that_unpacks_it(refuse: Callable[..., str]) -> None:
    zipfile.ZipFile("raf-db.zip", "w").close()
    said = refuse("raf-db.zip")
    assert "must be a folder of images, got the file 'raf-db.zip'" in said
    assert "To unpack 'raf-db.zip': unzip raf-db.zip -d ." in said


def test_the_archive_of_a_named_set_is_told_with_its_name(refuse: Callable[..., str]) -> None:
    tarfile.open("cifar-100-python.tar.gz", "w:gz").close()
    said = refuse("cifar-100-python.tar.gz")
    assert "tar -xf cifar-100-python.tar.gz -C . Then give 'torchvision:CIFAR100?root=.'" in said
    said = refuse("torchvision:CIFAR100?root=cifar-100-python.tar.gz")
    assert "that is a file, and root is the folder around what is unpacked from it" in said
    assert "give 'torchvision:CIFAR100?root=.'" in said


def test_archives_in_a_folder_are_to_be_unpacked(refuse: Callable[..., str]) -> None:
    Path("my sets").mkdir()
    for name in ("basic.zip", "compound.zip"):
        zipfile.ZipFile(f"my sets/{name}", "w").close()
    said = refuse("my sets")
    assert "the folder 'my sets' holds no images" in said
    assert "To unpack 'basic.zip', and 1 more: unzip 'my sets/basic.zip' -d 'my sets'" in said
    tarfile.open("my sets/cifar-100-python.tar.gz", "w:gz").close()
    said = refuse("torchvision:CIFAR100?root=my sets")
    assert "But cifar-100-python.tar.gz is there: unpack it in 'my sets', which needs no network." in said


@pytest.mark.parametrize("place", ["sets", "sets/cifar-100-python"])
def test_the_files_of_a_named_set_are_told_with_its_name(place: str, refuse: Callable[..., str]) -> None:
    write_cifar100(Path("sets"))
    said = refuse(place)
    assert f"These are the files of CIFAR100: give them as 'torchvision:CIFAR100?root={place}'" in said


def test_the_files_of_another_set_are_not_the_one_that_was_named(refuse: Callable[..., str]) -> None:
    write_cifar100(Path("sets"))
    said = refuse("torchvision:CIFAR10?root=sets/cifar-100-python")
    assert "CIFAR10 is not in 'sets/cifar-100-python': there is no cifar-10-batches-py/batches.meta" in said


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>Not found</html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"],
    ids=["empty", "page", "pointer"],
)
def test_a_file_of_a_set_that_holds_something_else_is_named(content: bytes, refuse: Callable[..., str]) -> None:
    write_cifar100(Path("sets"))
    Path("sets/cifar-100-python/train").write_bytes(content)
    said = refuse("torchvision:CIFAR100?root=sets")
    assert "'sets/cifar-100-python/train' can't be read as a file of CIFAR" in said
    assert "Unpack the archive again, or get another one." in said


def test_a_label_of_a_set_out_of_range_is_told(refuse: Callable[..., str]) -> None:
    write_cifar100(Path("sets"))
    wrong = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 100]}
    Path("sets/cifar-100-python/train").write_bytes(pickle.dumps(wrong))
    said = refuse("torchvision:CIFAR100?root=sets")
    assert "'sets/cifar-100-python/train': a label is out of range, they must be 0 to 99" in said


def test_faces_that_are_still_packed(refuse: Callable[..., str]) -> None:
    list_file = write_faces(Path("faces"), ROWS)
    for image in Path("faces/Image/aligned").iterdir():
        image.unlink()
    Path("faces/Image/aligned").rmdir()
    zipfile.ZipFile("faces/Image/aligned.zip", "w").close()
    assert "'faces' has no folder Image/aligned. Unpack aligned.zip there." in refuse("faces")
    assert list_file.is_file()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.replace("3.jpg 4", "3.jpg 9"), "line 3: the label of 'train_00003.jpg' must be 1 to 7, got 9"),
        (ROWS + "train_00099.jpg 1\n", "Image/aligned/train_00099_aligned.jpg: no such file"),
        (ROWS + "train_00001.jpg 1\n", "line 15: 'train_00001.jpg' stands in line 1 already"),
        (ROWS.replace("3.jpg 4", "3.jpg"), "line 3: must look like 'train_00001.jpg 5'"),
        ("", "list_patition_label.txt' lists no images"),
    ],
    ids=["label out of range", "listed but absent", "twice", "no label", "empty list"],
)  # fmt: skip
def test_a_list_of_faces_that_is_wrong(rows: str, message: str, refuse: Callable[..., str]) -> None:
    write_faces(Path("faces"), rows)
    assert message in refuse("faces")


def test_a_list_of_faces_in_another_encoding(refuse: Callable[..., str]) -> None:
    write_faces(Path("faces"), "").write_bytes(ROWS.encode("utf-16"))
    assert "line 1: byte 0xff is not UTF-8. The file is in another encoding; save it as UTF-8." in refuse("faces")


def test_a_list_of_faces_that_is_not_there(refuse: Callable[..., str]) -> None:
    list_file = write_faces(Path("faces"), ROWS)
    list_file.rename(list_file.with_name("list_partition_label.txt"))
    said = refuse("faces")
    assert "holds the aligned images of RAF-DB but no list_patition_label.txt (spelt so)" in said
    assert "There is 'faces/EmoLabel/list_partition_label.txt': rename it." in said


def test_another_list_of_labels_that_is_not_there(refuse: Callable[..., str]) -> None:
    write_faces(Path("faces"), ROWS)
    said = refuse("faces?labels=gone.txt")
    assert "labels=gone.txt: there is no such file, neither as it is written nor in 'faces/EmoLabel'" in said
