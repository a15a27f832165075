"""Copies that were resized, recompressed, brightened or trimmed are found; other images are not taken for copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from dropkd.data.check import DEFAULT_NEAR, check_data
from dropkd.demo.images import load_demo_split

from .cases import expect, files_of

Change = Callable[[Image.Image], Image.Image]


def recompress(image: Image.Image, quality: int = 60) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file)


def resize(image: Image.Image, factor: float) -> Image.Image:
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


def trim(image: Image.Image, share: float) -> Image.Image:
    across, down = round(image.width * share), round(image.height * share)
    return image.crop((across, down, image.width - across, image.height - down))


CHANGES: dict[str, Change] = {
    "recompressed": recompress,
    "smaller": lambda image: resize(image, 0.75),
    "larger": lambda image: resize(image, 1.5),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "trimmed": lambda image: trim(image, 0.04),
    "grey": lambda image: image.convert("L"),
    "smaller and recompressed": lambda image: recompress(resize(image, 0.9), 80),
}


def write_pair(photos: Path, original: Image.Image, copy: Image.Image) -> list[str]:
    original.save(photos / "train" / "sandal" / "original.png")
    copy.convert("RGB").save(photos / "test" / "sandal" / "copy.bmp")
    return ["test/sandal/copy.bmp", "train/sandal/original.png"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_photo_in_the_test_split_is_found(photos: Path, picture: Image.Image, change: str) -> None:
    pair = write_pair(photos, picture, CHANGES[change](picture))
    (item,) = expect(check_data(photos), "near-across-splits", "warning").items
    assert sorted(image.path for image in item.images) == pair
    assert {(image.split, image.label) for image in item.images} == {("train", "sandal"), ("test", "sandal")}
    assert item.distance is not None
    assert item.distance <= DEFAULT_NEAR


@pytest.mark.parametrize("change", ["recompressed", "smaller", "larger", "darker", "more contrast", "trimmed"])
def test_most_changed_copies_of_small_images_are_found(photos: Path, change: str) -> None:
    originals = files_of(photos / "train" / "ankle_boot")
    for original in originals:
        copy = CHANGES[change](Image.open(original))
        copy.convert("RGB").save(photos / "test" / "ankle_boot" / f"copy-{original.stem}.bmp")
    found = expect(check_data(photos), "near-across-splits", "warning").items
    right = [item for item in found if len({image.path[-9:-4] for image in item.images}) == 1]
    assert len(right) >= 0.9 * len(originals)
    assert len(found) - len(right) <= 1


def test_distinct_images_of_clothes_are_not_taken_for_copies(tmp_path: Path) -> None:
    split = load_demo_split("train")
    for label in range(10):
        folder = tmp_path / str(label)
        folder.mkdir()
        for row in np.flatnonzero(split.labels == label)[:100]:
            Image.fromarray(split.images[row]).save(folder / f"{row}.png")
    check = check_data(tmp_path)
    pairs = [finding for kind in ("near-across-splits", "near-in-split") if (finding := check.find(kind))]
    assert sum(len(finding.items) for finding in pairs) <= 2


def test_even_areas_are_told_apart_by_their_colour(photos: Path) -> None:
    for name, colour in {
        "red": (200, 30, 30),
        "green": (30, 90, 30),
        "blue": (60, 60, 240),
        "red 2": (202, 30, 30),
    }.items():
        Image.new("RGB", (32, 32), colour).save(photos / "train" / "sandal" / f"{name}.png")
    (item,) = expect(check_data(photos), "near-in-split", "note").items
    assert sorted(image.path for image in item.images) == ["train/sandal/red 2.png", "train/sandal/red.png"]


def test_a_drawing_in_another_colour_is_another_picture(photos: Path) -> None:
    shape = np.zeros((40, 40), bool)
    shape[8:30, 12:20] = shape[20:34, 5:35] = True
    for name, colour in {"red": (230, 20, 20), "blue": (20, 120, 230)}.items():
        values = np.full((40, 40, 3), 255, np.uint8)
        values[shape] = colour
        Image.fromarray(values).save(photos / "train" / "sandal" / f"{name}.png")
    assert check_data(photos).find("near-in-split") is None


def test_copies_with_another_label_are_told_as_such(photos: Path, picture: Image.Image) -> None:
    picture.save(photos / "train" / "sandal" / "a.png")
    recompress(picture).save(photos / "train" / "trouser" / "b.jpg")
    (item,) = expect(check_data(photos), "near-with-other-label", "warning").items
    assert [image.label for image in item.images] == ["sandal", "trouser"]


def test_several_copies_of_one_photo_are_one_group(photos: Path, picture: Image.Image) -> None:
    for k in range(5):
        resize(picture, 1 + k / 10).save(photos / "train" / "sandal" / f"copy{k}.png")
    (item,) = expect(check_data(photos), "near-in-split", "note").items
    assert [image.path[-9:] for image in item.images] == [f"copy{k}.png" for k in range(5)]


def test_the_distance_bounds_what_is_found_and_nothing_near_is_looked_for_where_it_is_none(
    photos: Path, picture: Image.Image
) -> None:
    write_pair(photos, picture, recompress(picture, 20))
    assert check_data(photos, near=40).find("near-across-splits") is not None
    assert check_data(photos, near=0).find("near-across-splits") is None
    none = check_data(photos, near=None)
    assert (none.near, none.find("near-across-splits"), none.find("near-not-searched")) == (None, None, None)


def test_without_imagehash_equal_images_are_found_and_the_rest_is_explained(
    photos: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropkd.data.check.checking.can_hash", lambda: False)
    write_pair(photos, picture, picture)
    check = check_data(photos)
    assert len(expect(check, "same-across-splits", "error").items) == 1
    assert 'pip install "dropkd[check]"' in expect(check, "near-not-searched", "note").advice
