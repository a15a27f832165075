"""The scripts that read the original files of Fashion-MNIST, on small files in the same format."""

from __future__ import annotations

import gzip
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data.idx import read_idx
from dropkd.demo.idx import read_fashion_mnist
from dropkd.demo.images import CLASSES
from dropkd.errors import DataError

RECIPES = Path(__file__).parents[2] / "recipes"


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    data = header + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    folder = tmp_path / "idx"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("train", 120), ("t10k", 50)):
        _write_idx(folder / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        _write_idx(folder / f"{name}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return folder


def _run(name: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(RECIPES / name), run_name="__main__")


def test_the_folder_holds_every_image_under_its_class_and_number(originals: Path, tmp_path: Path) -> None:
    _run("fashion_mnist_folder.py", originals, tmp_path / "images")
    images, labels = read_fashion_mnist(originals, "train")
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        written = Image.open(tmp_path / "images" / "train" / CLASSES[label] / f"{i:05}.png")
        assert (np.asarray(written) == image).all()
    assert len(list((tmp_path / "images" / "test").rglob("*.png"))) == 50


def test_the_folder_can_be_limited(originals: Path, tmp_path: Path) -> None:
    _run("fashion_mnist_folder.py", originals, tmp_path / "images", "--limit", 20)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 40


def test_the_bundle_is_balanced_right_and_the_same_each_time(originals: Path, tmp_path: Path) -> None:
    bundle = runpy.run_path(str(RECIPES / "bundle_demo_images.py"))["bundle"]
    for name in ("a.npz", "b.npz"):
        bundle(originals, tmp_path / name, {"train": 5, "test": 2})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    images, labels = read_fashion_mnist(originals, "train")
    with np.load(tmp_path / "a.npz") as made:
        index = made["train_index"]
        assert np.bincount(made["train_labels"]).tolist() == [5] * 10
        assert (made["train_images"] == images[index]).all()
        assert (made["train_labels"] == labels[index]).all()
        assert np.bincount(made["test_labels"]).tolist() == [2] * 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no train-images-idx3-ubyte\.gz\. The original files"):
        read_fashion_mnist(tmp_path, "train")


def test_files_that_are_not_gzipped_are_read_too(tmp_path: Path) -> None:
    _write_idx(tmp_path / "a", np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert read_idx(tmp_path / "a").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "is no IDX file of unsigned bytes, it begins with b'hell'"),
        (bytes((0, 0, 8, 1, 0, 0, 0, 9, 1)), r"should hold \(9,\) bytes, but has 1: it is damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a")


def test_a_cut_off_gzip_file_is_named(originals: Path) -> None:
    path = originals / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="can't read the IDX file"):
        read_fashion_mnist(originals, "train")


def test_images_and_labels_that_differ_in_number_are_refused(originals: Path) -> None:
    _write_idx(originals / "t10k-labels-idx1-ubyte.gz", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="test has 50 images but 3 labels"):
        read_fashion_mnist(originals, "test")
