from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data import open_data
from dropkd.demo import images as images_module
from dropkd.demo.images import CLASSES, DemoSplit, load_demo_split, unpack_demo_images
from dropkd.errors import DataError

FOLDER = Path(images_module.__file__).parent


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundle two images a class, for the tests that are about files."""

    def load(name: str) -> DemoSplit:
        split = load_demo_split(name)
        rows = np.sort(np.concatenate([np.flatnonzero(split.labels == label)[:2] for label in range(10)]))
        return DemoSplit(split.images[rows], split.labels[rows], split.index[rows])

    monkeypatch.setattr(images_module, "load_demo_split", load)


@pytest.mark.parametrize(("name", "per_class", "originals"), [("train", 600, 60_000), ("test", 200, 10_000)])
def test_the_bundle_has_equally_many_images_of_each_class(name: str, per_class: int, originals: int) -> None:
    split = load_demo_split(name)
    assert split.images.shape == (10 * per_class, 28, 28)
    assert np.bincount(split.labels).tolist() == [per_class] * 10
    assert (np.diff(split.index) > 0).all()
    assert 0 <= split.index[0] < split.index[-1] < originals


def test_the_bundle_is_small_and_has_its_licence_beside_it() -> None:
    assert (FOLDER / "fashion_mnist.npz").stat().st_size <= 4 * 2**20
    text = (FOLDER / "FASHION_MNIST_LICENSE").read_text()
    assert "Zalando SE" in text
    assert "Permission is hereby granted, free of charge" in text


def test_the_unpacked_folder_opens_with_the_bundled_pixels(tmp_path: Path) -> None:
    data = open_data(unpack_demo_images(tmp_path / "new" / "images"))
    assert data.classes == tuple(sorted(CLASSES))
    assert (len(data.train), len(data.val), data.native_size) == (5400, 600, (28, 28))
    assert data.test is not None
    assert data.test.class_counts.tolist() == [200] * 10
    split = load_demo_split("test")
    for i in (0, 777, 1999):
        path = tmp_path / "new" / "images" / "test" / CLASSES[split.labels[i]] / f"{split.index[i]:05}.png"
        assert (np.asarray(Image.open(path)) == split.images[i]).all()


@pytest.mark.usefixtures("few")
def test_a_whole_copy_is_left_alone(tmp_path: Path) -> None:
    folder = unpack_demo_images(tmp_path / "images")
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert unpack_demo_images(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


@pytest.mark.usefixtures("few")
def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert len(list(unpack_demo_images(tmp_path / "images").rglob("*.png"))) == 40


@pytest.mark.usefixtures("few")
def test_an_incomplete_copy_is_named_and_not_touched(tmp_path: Path) -> None:
    folder = unpack_demo_images(tmp_path / "images")
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(DataError, match=r"images' is in the way: 1 of the demo images are missing there\. Remove it"):
        unpack_demo_images(folder)
    assert len(list(folder.rglob("*.png"))) == 39


@pytest.mark.usefixtures("few")
def test_a_stop_in_between_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path, split: DemoSplit) -> None:
        folder.mkdir()
        if folder.name == "test":
            raise KeyboardInterrupt

    monkeypatch.setattr(images_module, "write_images", stop)
    with pytest.raises(KeyboardInterrupt):
        unpack_demo_images(tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, split: DemoSplit) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images_module, "write_images", fail)
    with pytest.raises(DataError, match=r"can't unpack the demo images to '.*images': No space left on device\."):
        unpack_demo_images(tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
def test_two_processes_that_unpack_at_once_end_with_one_whole_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = images_module.write_images

    def write_second(folder: Path, split: DemoSplit) -> None:
        monkeypatch.setattr(images_module, "write_images", write)
        unpack_demo_images(tmp_path / "images")
        write(folder, split)

    monkeypatch.setattr(images_module, "write_images", write_second)
    folder = unpack_demo_images(tmp_path / "images")
    assert len(list(folder.rglob("*.png"))) == 40
    assert list(tmp_path.iterdir()) == [folder]


def test_the_bundle_is_the_one_that_was_committed() -> None:
    split = load_demo_split("train")
    digest = hashlib.sha256(split.images.tobytes() + split.labels.tobytes() + split.index.tobytes()).hexdigest()
    assert digest == "2fad6f9c61baf130253298aea65cac34a2d203208f65e8c90b3b8ff3f6892011"
