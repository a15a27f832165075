from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dropkd.data import ImageData, Split, open_data
from dropkd.data import reading as reading_module
from dropkd.data.images import load_image
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]
any_counts = st.lists(st.integers(3, 25), min_size=2, max_size=4)


def _names(data: ImageData) -> list[set[str]]:
    return [set(split.relative_paths) for split in data.splits]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_counts, st.integers(-5, 2**40), st.floats(0.01, 0.49))
def test_a_folder_without_splits_is_cut_in_three_by_class(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int, fraction: float
) -> None:
    root = tmp_path_factory.mktemp("cut")
    for label, count in enumerate(counts):
        (root / f"c{label}").mkdir()
        for i in range(count):
            Image.new("L", (2, 2), i).save(root / f"c{label}" / f"{i}.png")
    data = open_data(root, seed=seed, validation_fraction=fraction)
    train, val, test = _names(data)
    assert len(train) + len(val) + len(test) == sum(counts) == len(train | val | test)
    assert data.test is not None
    for label, count in enumerate(counts):
        parts = [int(split.class_counts[label]) for split in (data.val, data.test)]
        assert parts[0] == parts[1] == min(max(1, round(count * fraction)), (count - 1) // 2)
        assert data.train.class_counts[label] >= 1
    assert _names(open_data(root, seed=seed, validation_fraction=fraction)) == [train, val, test]


def test_another_seed_cuts_other_images(tree: Tree) -> None:
    root = tree({"cat": 30, "dog": 30})
    assert _names(open_data(root, seed=0)) != _names(open_data(root, seed=1))


def test_an_added_image_moves_few_others(tree: Tree) -> None:
    root = tree({"cat": 30, "dog": 30})
    before = open_data(root)
    Image.new("RGB", (10, 8)).save(root / "cat" / "another.png")
    after = open_data(root)
    moved = sum(len(b - a) for b, a in zip(_names(before), _names(after), strict=True))
    assert moved <= 2


def test_validation_is_cut_from_train_where_there_is_none(tree: Tree) -> None:
    data = open_data(tree({"train/cat": 20, "train/dog": 10, "test/cat": 2, "test/dog": 2}), seed=5)
    assert data.val.class_counts.tolist() == [2, 1]
    assert data.train.class_counts.tolist() == [18, 9]
    assert data.notes == ("no val/ folder: 3 images cut from train/ for validation (10 % by class, seed 5)",)
    assert data.test is not None
    assert (data.train.name, data.val.name, data.test.name) == ("train", "val", "test")


def test_a_missing_test_split_is_none_and_noted(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    root = tree({f"{split}/{name}": 2 for split in ("train", "val") for name in ("cat", "dog")})
    with caplog.at_level(logging.INFO, logger="dropkd"):
        data = open_data(root)
    assert data.test is None
    assert data.splits == (data.train, data.val)
    assert data.notes == ("no test/ folder: there will be no test figures",)
    assert data.notes[0] in caplog.text


@pytest.mark.parametrize("fraction", [0.0, 0.5, -0.1, 1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(tree: Tree, fraction: float) -> None:
    message = r"validation_fraction must lie between 0 and 0\.5, both excluded, got "
    with pytest.raises(ConfigError, match=message):
        open_data(tree({"cat": 9, "dog": 9}), validation_fraction=fraction)


def test_classes_and_files_come_in_the_order_of_their_names(tree: Tree) -> None:
    data = open_data(tree({f"{split}/{name}": 2 for split in ("train", "val") for name in ("10", "2", "1")}))
    assert data.classes == ("1", "10", "2")
    assert data.train.relative_paths == tuple(f"train/{c}/{i}.png" for c in ("1", "10", "2") for i in (0, 1))
    assert data.train.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.train.targets.dtype == np.int64


def test_small_images_of_one_size_are_kept_in_memory(whole: Path) -> None:
    data = open_data(whole)
    assert (data.native_size, data.uniform) == ((8, 10), True)
    for split in data.splits:
        assert split.pack is not None
        for i, path in enumerate(split.paths):
            assert (split.pack[i] == np.asarray(load_image(path))).all()


def test_images_of_several_sizes_are_not_kept(tree: Tree) -> None:
    root = tree({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    Image.new("RGB", (100, 90)).save(root / "train" / "dog" / "wide.png")
    data = open_data(root)
    assert (data.native_size, data.uniform, data.train.pack) == ((8, 10), False, None)


def test_large_images_are_not_kept(tree: Tree) -> None:
    data = open_data(tree({"cat": 3, "dog": 3}, size=(12, 129)))
    assert (data.native_size, data.uniform, data.train.pack) == ((12, 129), True, None)


def test_sets_beyond_the_memory_limit_are_not_kept(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "PACK_BYTES", 24 * 8 * 10 * 3 - 1)
    assert open_data(whole).train.pack is None


def _break(root: Path, count: int) -> None:
    for i in range(count):
        (root / "train" / "cat" / f"bad{i:02}.png").write_bytes(b"")


def test_unreadable_images_are_all_counted_and_the_first_ten_listed(whole: Path) -> None:
    _break(whole, 12)
    with pytest.raises(DataError) as caught:
        open_data(whole)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("12 of 36 images can't be read:")
    assert lines[1:11] == [f"  train/cat/bad{i:02}.png: the file is empty (0 bytes)" for i in range(10)]
    assert lines[11] == "  and 2 more"
    assert "--skip-unreadable" in lines[12]


def test_each_kind_of_damage_is_told(whole: Path) -> None:
    good = (whole / "train" / "cat" / "0.png").read_bytes()
    (whole / "train" / "cat" / "cut.png").write_bytes(good[:60])
    (whole / "train" / "dog" / "text.jpg").write_text("hello")
    (whole / "test" / "dog" / "zero.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        open_data(whole)
    text = str(caught.value)
    assert "train/cat/cut.png: " in text
    assert "train/dog/text.jpg: not an image that can be recognised" in text
    assert "test/dog/zero.png: the file is empty (0 bytes)" in text


def test_unreadable_images_are_skipped_when_asked_for(whole: Path) -> None:
    _break(whole, 12)
    data = open_data(whole, skip_unreadable=True)
    assert len(data.train) == 8
    assert data.train.pack is not None
    assert (data.train.pack[3] == np.asarray(load_image(data.train.paths[3]))).all()
    (note,) = data.notes
    assert note.startswith("skipped 12 of 36 images that can't be read (train/cat/bad00.png: the file is empty")
    assert note.endswith("; and 2 more)")


def test_a_class_that_loses_all_its_images_is_named(whole: Path) -> None:
    for path in (whole / "test" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image of class 'dog' can be read in test/\."):
        open_data(whole, skip_unreadable=True)


def test_all_readable_kinds_of_image_open_together(whole: Path) -> None:
    folder, size = whole / "train" / "cat", (10, 8)
    Image.new("CMYK", size).save(folder / "a.jpg")
    Image.fromarray(np.full((8, 10), 40_000, np.uint16)).save(folder / "b.png")
    Image.new("RGB", size).save(folder / "c.gif", save_all=True, append_images=[Image.new("RGB", size, "red")])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 10)).save(folder / "d.jpg", exif=exif)
    Image.new("P", size).save(folder / "e.png", transparency=0)
    data = open_data(whole)
    assert len(data.train) == 13
    assert data.uniform


def test_large_files_are_read_by_threads_with_the_same_result(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"cat": 90, "dog": 90}, size=(40, 40))
    alone = open_data(root)
    monkeypatch.setattr(reading_module, "_THREADS_PAY_BYTES", 0)
    seen: list[tuple[int, int]] = []
    together = open_data(root, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(64, 180), (128, 180), (180, 180)]
    assert alone.train.pack is not None
    assert together.train.pack is not None
    assert (alone.train.pack.array == together.train.pack.array).all()
    assert alone.train.fingerprint() == together.train.fingerprint()


def test_a_fingerprint_tells_content_names_and_classes(whole: Path) -> None:
    original = open_data(whole).train.fingerprint()
    assert len(original) == 64
    assert open_data(whole).train.fingerprint() == original
    path = whole / "train" / "cat" / "0.png"
    content = path.read_bytes()
    path.write_bytes((whole / "train" / "cat" / "1.png").read_bytes())
    assert open_data(whole).train.fingerprint() != original
    path.write_bytes(content)
    assert open_data(whole).train.fingerprint() == original
    split = open_data(whole).train
    assert replace(split, classes=("cat", "wolf")).fingerprint() != original
    path.rename(path.with_name("00.png"))
    assert open_data(whole).train.fingerprint() != original


def test_a_fingerprint_does_not_depend_on_where_the_folder_lies(whole: Path) -> None:
    original = open_data(whole).train.fingerprint()
    assert open_data(whole.rename(whole.with_name("moved"))).train.fingerprint() == original


def test_a_split_made_by_hand_is_read_for_its_fingerprint(whole: Path) -> None:
    split = open_data(whole).train
    assert Split("train", split.paths, split.targets, split.classes, whole).fingerprint() == split.fingerprint()


@pytest.mark.parametrize("was_on", [True, False])
def test_listing_leaves_the_garbage_collector_as_it_was(whole: Path, was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    try:
        open_data(whole)
        assert gc.isenabled() is was_on
        with pytest.raises(DataError):
            open_data(whole / "nowhere")
        assert gc.isenabled() is was_on
    finally:
        gc.enable()
