"""Unlabelled images: from any place, without those that the student is judged by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dropkd.data import ImageData, open_data, open_unlabelled
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]


@pytest.fixture
def data(whole: Path) -> ImageData:
    return open_data(whole)


def draw(path: Path, seed: int, size: tuple[int, int] = (8, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Seven new images of several sizes at several depths."""
    for i, place in enumerate(["a.png", "b.PNG", "cat/c.png", "cat/d.jpg", "x/y/z/e.png", "x/y/f.webp", "only/g.bmp"]):
        draw(tmp_path / "pool" / place, 100 + i, (8, 10 + i))
    return tmp_path / "pool"


def names(opened: object) -> list[str]:
    return list(opened.split.relative_paths)  # type: ignore[attr-defined]


def test_the_images_of_a_folder_are_taken_from_any_depth(pool: Path, data: ImageData) -> None:
    opened = open_unlabelled(pool, data)
    assert names(opened) == [
        "a.png", "b.PNG", "cat/c.png", "cat/d.jpg", "only/g.bmp", "x/y/f.webp", "x/y/z/e.png",
    ]  # fmt: skip
    assert (opened.split.targets == -1).all()
    assert (opened.left_out, opened.known, opened.notes) == ({}, 0, ())


def test_hidden_files_are_passed_over_and_others_are_noted(pool: Path, data: ImageData) -> None:
    draw(pool / ".cache" / "h.png", 1)
    (pool / "x" / "notes.txt").write_text("no image")
    opened = open_unlabelled(pool, data)
    assert len(opened.split) == 7
    assert opened.notes == ("ignored 1 file that is no image: x/notes.txt",)


def test_a_folder_that_links_to_itself_is_entered_once(pool: Path, data: ImageData) -> None:
    (pool / "x" / "again").symlink_to(pool)
    (pool / "cat" / "loop").symlink_to(pool / "cat")
    assert len(open_unlabelled(pool, data).split) == 7


def test_of_a_folder_with_splits_only_the_training_images_are_taken(tree: Tree, data: ImageData) -> None:
    for number, name in enumerate(("train/a/0.png", "train/1.png", "val/a/2.png", "test/3.png", "more/4.png")):
        draw(tree({}, name="other") / name, 200 + number)
    opened = open_unlabelled(tree({}, name="other"), data)
    assert names(opened) == ["more/4.png", "train/1.png", "train/a/0.png"]
    assert opened.notes == ("ignored 2 folders beside train/: test, val",)


def test_a_folder_called_test_alone_is_a_folder_like_others(tree: Tree, data: ImageData) -> None:
    draw(tree({}, name="other") / "test" / "3.png", 200)
    assert names(open_unlabelled(tree({}, name="other"), data)) == ["test/3.png"]


@pytest.mark.parametrize("label", [[], ["label"]])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_manifest_needs_no_labels(kind: str, label: list[str], pool: Path, data: ImageData) -> None:
    columns = {"path": ["a.png", "cat/c.png", "x/y/z/e.png"], "split": ["train", "", "test"]}
    columns |= {name: ["", "1", "dog"] for name in label}
    file = pool / f"list.{kind}"
    if kind == "csv":
        file.write_text("\n".join([",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]))
    else:
        pq.write_table(pa.table(columns), file)
    opened = open_unlabelled(file, data)
    assert names(opened) == ["a.png", "cat/c.png"]
    assert opened.notes == ("left out 1 image of val and test",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file\na.png\n", r"no column 'path'.*unlabelled images need no label.*Did you mean|no column 'path'"),
        ("path\na.png\na.png\n", "stands in line 2 already"),
        ("path\n../a.png\n", "must stay in the manifest's folder"),
        ("path,label\n,1\n", "the path is missing"),
        ("path\ngone.png\n", r"gone\.png: "),
        ("path,split\na.png,test\n", "holds no images"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_line(text: str, says: str, pool: Path, data: ImageData) -> None:
    (pool / "list.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        open_unlabelled(pool / "list.csv", data)


def test_of_a_published_set_the_training_images_are_taken(data: ImageData) -> None:
    root = "/usr/share/datasets/fashion-mnist"
    opened = open_unlabelled(f"torchvision:FashionMNIST?root={root}", data)
    assert len(opened.split) == 60_000
    assert opened.split.pack is not None
    assert names(opened)[0].startswith("train/")


def test_images_of_val_and_test_are_left_out_and_those_of_train_noted(pool: Path, data: ImageData) -> None:
    splits = {"train": 3, "val": 2, "test": 1}
    for split, count in splits.items():
        part = {s.name: s for s in data.splits}[split]
        for path in part.paths[:count]:
            shutil.copy(path, pool / f"copy-{split}-{path.parent.name}-{path.name}")
    opened = open_unlabelled(pool, data)
    assert opened.left_out == {"val": 2, "test": 1}
    assert opened.known == 3
    assert opened.notes == (
        "left out 3 of 13 unlabelled images that the student is judged by (2 in val, 1 in test)",
        "3 of 10 unlabelled images are among the labelled training images too",
    )
    assert not any("copy-val" in name or "copy-test" in name for name in names(opened))


def test_the_same_pixels_in_another_file_are_the_same_image(tmp_path: Path, data: ImageData) -> None:
    assert data.val is not None
    Image.open(data.val.paths[0]).save(draw(tmp_path / "pool" / "same.bmp", 0))
    draw(tmp_path / "pool" / "other.bmp", 7)
    opened = open_unlabelled(tmp_path / "pool", data)
    assert names(opened) == ["other.bmp"]
    assert opened.left_out == {"val": 1}


def test_the_labelled_folder_itself_gives_its_training_images(whole: Path, data: ImageData) -> None:
    opened = open_unlabelled(whole, data)
    assert len(opened.split) == opened.known == len(data.train)


def test_an_unreadable_image_is_named_or_skipped(pool: Path, data: ImageData) -> None:
    (pool / "x" / "broken.jpg").write_bytes(b"no jpeg")
    with pytest.raises(DataError, match=r"1 of 8 images can't be read:\n  x/broken\.jpg: .*\n.*--skip-unreadable"):
        open_unlabelled(pool, data)
    opened = open_unlabelled(pool, data, skip_unreadable=True)
    assert len(opened.split) == 7
    assert opened.left_out == {"unreadable": 1}


def test_where_no_image_is_left_the_reasons_are_told(tmp_path: Path, data: ImageData) -> None:
    assert data.val is not None
    (tmp_path / "pool").mkdir()
    shutil.copy(data.val.paths[0], tmp_path / "pool" / "a.png")
    (tmp_path / "pool" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"of 2 images, 1 are in val, 1 can't be read"):
        open_unlabelled(tmp_path / "pool", data, skip_unreadable=True)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("empty", "holds no images"),
        ("texts", "holds no images but 1 other files"),
        ("pol", "does not exist. Did you mean 'pool'"),
        ("texts/a.txt", "must be a folder of images"),
        ("torchvision:CIFAR11", "CIFAR10"),
    ],
)
def test_a_place_without_images_is_refused(place: str, says: str, pool: Path, data: ImageData) -> None:
    (pool.parent / "empty").mkdir()
    (pool.parent / "texts").mkdir()
    (pool.parent / "texts" / "a.txt").write_text("text")
    with pytest.raises((DataError, ConfigError), match=says):
        open_unlabelled(place if ":" in place else pool.parent / place, data)


def test_an_option_that_a_folder_does_not_have_is_refused(pool: Path, data: ImageData) -> None:
    with pytest.raises(ConfigError, match="unknown option 'labels'"):
        open_unlabelled(f"{pool}?labels=x", data)


def test_the_fingerprint_changes_with_each_image(pool: Path, data: ImageData) -> None:
    prints = [open_unlabelled(pool, data).split.fingerprint()]
    draw(pool / "a.png", 999)
    prints.append(open_unlabelled(pool, data).split.fingerprint())
    (pool / "b.PNG").unlink()
    prints.append(open_unlabelled(pool, data).split.fingerprint())
    assert len(set(prints)) == 3, json.dumps(prints)
