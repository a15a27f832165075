"""Images that are decoded once: the same batches as when they are decoded each time, whatever happens to the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from dropkd.data import EvalLoader, ImageData, LoadedBatch, Packing, Recipe, Split, TrainLoader, keep_pixels, open_data
from dropkd.data import packing as packing_module
from dropkd.data import sources as sources_module
from dropkd.data.packing import drop_pack, estimate_bytes
from dropkd.data.pixel_folders import count_bytes, pixels_root

SIZE = (40, 48)
RESIZED = Recipe("resized", crop_scale=(0.1, 1.0), interpolation="random", color_jitter=0.2)
RECIPES = [RESIZED, Recipe("shift", crop_padding=3), Recipe("centre", noise_probability=0.5)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "cache"))


def write_photos(root: Path) -> Path:
    """Write parts of photographs of many sizes: large JPEGs, some turned by a camera, PNGs and small ones."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number, size in enumerate([(640, 427), (501, 375), (375, 500), (333, 131), (90, 60), (64, 64), (500, 375)]):
        for name, photo in zip(("temple", "flower"), photos, strict=True):
            part = photo.resize(size, box=(10 * number, 5 * number, 560, 400))
            path = root / ("val" if number == 6 else "train") / name / f"{number}.{'png' if number == 2 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number in (1, 3):
                exif = Image.Exif()
                exif[0x0112] = 6 if number == 1 else 3
                part.save(path, quality=90, exif=exif)
            else:
                part.save(path)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def data(photos: Path) -> ImageData:
    return open_data(photos)


def keep(splits: Sequence[Split], packing: Packing | None = None, **options: object) -> tuple[list[Split], str | None]:
    settings: dict[str, object] = {"epochs": 30, **options}
    return keep_pixels(splits, packing or Packing(), RESIZED, SIZE, **settings)  # type: ignore[arg-type]


def load(split: Split, recipe: Recipe = RESIZED, epochs: int = 2, workers: int = 0) -> list[LoadedBatch]:
    loader = TrainLoader(split, size=SIZE, recipe=recipe, batch_size=5, seed=1, workers=workers)
    return [batch for epoch in range(epochs) for batch in loader.epoch(epoch)]


def assert_same(some: Sequence[LoadedBatch], others: Sequence[LoadedBatch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.index, other.index)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are opened."""
    names: list[str] = []
    read = sources_module.read_picture

    def read_and_tell(source: object, name: str, pixels: int) -> object:
        names.append(name)
        return read(source, name, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(sources_module, "read_picture", read_and_tell)
    return names


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_pixels_are_those_of_decoding_each_time(data: ImageData, recipe: Recipe, workers: int) -> None:
    (train, val), note = keep(data.splits)
    assert note is not None
    assert "so that each is decoded once" in note
    expected = load(data.train, recipe)
    for _ in range(2):
        assert_same(load(train, recipe, workers=workers), expected)
    frames = list(EvalLoader(data.val, size=SIZE, batch_size=5))
    for _ in range(2):
        assert_same(list(EvalLoader(val, size=SIZE, batch_size=5, workers=workers)), frames)


def test_each_image_is_decoded_once_and_by_later_runs_not_at_all(
    data: ImageData, photos: Path, decoded: list[str]
) -> None:
    recipe = Recipe("centre")
    (train, _), _ = keep(data.splits)
    load(train, recipe, epochs=3)
    assert sorted(decoded) == sorted(map(str, data.train.paths))
    decoded.clear()
    # Another cut into splits is of the same images.
    later = open_data(photos, seed=5)
    (train, _), note = keep(later.splits)
    assert note is not None
    assert note.startswith("Decoded images: 12 of 14 are there already")
    load(train, recipe)
    assert not decoded


def test_a_file_that_changed_after_the_data_was_opened_is_not_kept(
    data: ImageData, tmp_path: Path, decoded: list[str]
) -> None:
    root = write_photos(tmp_path / "own")
    opened = open_data(root)
    (train, _), _ = keep(opened.splits)
    changed = next(path for path in train.paths if path.name == "0.jpg")
    before = changed.read_bytes()
    Image.new("RGB", (640, 427)).save(changed)
    load(train)
    changed.write_bytes(before)
    assert_same(load(train), load(open_data(root).train))


def test_damage_on_the_disk_is_found_and_mended(data: ImageData) -> None:
    (train, _), _ = keep(data.splits)
    expected = load(train)
    (folder,) = pixels_root().iterdir()
    for path in folder.glob("pixels-*"):
        content = np.fromfile(path, np.uint8)
        content[:: len(content) // 40] ^= 255
        content.tofile(path)
    (train, _), _ = keep(data.splits)
    for _ in range(2):
        assert_same(load(train), expected)


def test_images_of_equal_content_share_their_place(tmp_path: Path) -> None:
    image = Image.fromarray(load_sample_images().images[0])
    for name in ("train/a/0", "train/a/1", "train/b/0", "val/a/0", "val/b/0"):
        path = tmp_path / "copies" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (train, _), _ = keep(open_data(tmp_path / "copies").splits)
    load(train)
    assert train.kept is not None
    assert train.kept.rows.tolist() == [0, 0, 0]
    assert train.take(np.array([2])).kept.rows.tolist() == [0]  # type: ignore[union-attr]


def test_what_would_be_too_large_is_decoded_each_time_and_said(data: ImageData) -> None:
    splits, note = keep(data.splits, Packing("disk", 10_000))
    assert all(split.kept is None for split in splits)
    assert note is not None
    assert "more than data.packed_gb (10.0 KB): they are decoded each time" in note
    assert not pixels_root().exists()


@pytest.mark.parametrize("mode", ["memory", "off"])
def test_nothing_is_written_where_it_is_not_wanted(data: ImageData, mode: str) -> None:
    splits, note = keep(data.splits, Packing(mode))
    assert note is None
    assert all(split.kept is None for split in splits)
    assert not pixels_root().exists()


def test_a_run_of_one_epoch_keeps_nothing_but_takes_what_is_there(data: ImageData) -> None:
    splits, note = keep(data.splits, epochs=1)
    assert note is None
    assert splits[0].kept is None
    load(keep(data.splits)[0][0])
    splits, note = keep(data.splits, epochs=1)
    assert note is not None
    assert splits[0].kept is not None


def test_a_machine_with_little_memory_keeps_nothing_unasked(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_module, "_count_memory", lambda: 1_000_000)
    splits, note = keep(data.splits)
    assert splits[0].kept is None
    assert note is not None
    assert "--set data.packed=disk keeps them" in note
    assert keep(data.splits, Packing("disk"))[0][0].kept is not None


def test_a_place_that_can_not_be_written_is_said_and_images_are_decoded_each_time(
    data: ImageData, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    splits, note = keep(data.splits)
    assert splits[0].kept is None
    assert note is not None
    assert "can't be kept" in note


def test_other_images_make_room_unless_they_are_in_use(data: ImageData, tmp_path: Path) -> None:
    wanted = estimate_bytes(data.splits, RESIZED, SIZE)
    held, _ = keep(data.splits)
    load(held[0])
    (first,) = pixels_root().iterdir()
    other = open_data(write_photos(tmp_path / "more")).splits
    other = [replace(split, digests=tuple(d[::-1] for d in split.digests)) for split in other]
    limit = Packing("auto", wanted + 1000)
    keep(other, limit)
    assert count_bytes(first) > 0
    del held
    keep(other, limit)
    assert not first.exists()


def test_the_estimate_is_what_is_written(data: ImageData, photos: Path) -> None:
    exact = Recipe("centre")
    large = list(data.splits)
    (train, val), _ = keep(large)
    load(train, exact)
    list(EvalLoader(val, size=SIZE, batch_size=5))
    (folder,) = pixels_root().iterdir()
    written = count_bytes(folder)
    assert 0 < written - estimate_bytes(large, exact, SIZE) < 20 * 4096
    assert estimate_bytes(large, RESIZED, SIZE) > estimate_bytes(large, exact, SIZE)


def test_small_images_leave_the_memory_only_where_they_have_files(clothes: Path) -> None:
    split = open_data(clothes).train
    for mode, packed in (("auto", True), ("memory", True), ("disk", False), ("off", False)):
        assert (drop_pack(split, mode).pack is not None) == packed
    alone = replace(split, pack=replace(split.pack, has_files=False))
    assert drop_pack(alone, "off").pack is not None


def test_small_images_on_disk_give_the_same_batches(clothes: Path) -> None:
    splits = open_data(clothes).splits
    recipe, size = Recipe("shift", crop_padding=2), (28, 28)
    loose = [drop_pack(split, "disk") for split in splits]
    kept, _ = keep_pixels(loose, Packing("disk"), recipe, size, epochs=3)
    for own, one in zip(kept, splits, strict=True):
        for _ in range(2):
            assert_same(load(own, recipe), load(one, recipe))
