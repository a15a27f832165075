"""Each kind of finding, in a tree that was made for it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dropkd.data.check import MOST_NEAR, check_data
from dropkd.errors import ConfigError, DataError

from .cases import expect, files_of, paths_of


def noise(seed: int, height: int, width: int, channels: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, channels), dtype=np.uint8))


def test_data_in_order_has_no_errors_and_no_warnings(photos: Path) -> None:
    check = check_data(photos)
    assert [finding.kind for finding in check.findings if finding.level != "note"] == []
    assert (check.exit_code(), check.exit_code(strict=True)) == (0, 0)
    assert {split: sum(counts) for split, counts in check.counts.items()} == {"train": 66, "val": 6, "test": 24}
    assert (check.images, check.readable, check.formats) == (96, 96, {"PNG": 96})
    assert check.sizes is not None
    assert check.sizes.median == (28, 28)
    assert all(len(row) == 6 for row in check.samples)


def test_every_file_that_cannot_be_read_is_named_with_the_reason(photos: Path) -> None:
    whole = files_of(photos / "train" / "sandal")[0].read_bytes()
    spoilt = {"cut.png": whole[:150], "text.jpg": b"no image", "empty.png": b""}
    for name, content in spoilt.items():
        (photos / "train" / "sandal" / name).write_bytes(content)
    (photos / "train" / "sandal" / "gone.png").symlink_to("nowhere.png")
    check = check_data(photos)
    reasons = {item.images[0].path.split("/")[-1]: item.text for item in expect(check, "unreadable", "error").items}
    assert reasons == {
        "cut.png": "image file is truncated",
        "empty.png": "the file is empty (0 bytes)",
        "gone.png": "no such file (a broken link?)",
        "text.jpg": "not an image that can be recognised",
    }
    assert (check.images - check.readable, check.exit_code()) == (4, 2)


def test_an_image_in_train_and_test_is_an_error_as_file_and_as_pixels(photos: Path) -> None:
    first, second = files_of(photos / "train" / "sandal")[:2]
    shutil.copy(first, photos / "test" / "sandal" / "copy.png")
    Image.open(second).save(photos / "test" / "sandal" / "same.bmp")
    found = expect(check_data(photos), "same-across-splits", "error")
    assert sorted(item.text for item in found.items) == ["the same file", "the same pixels"]
    assert sorted(paths_of(found)) == sorted(
        [
            ["test/sandal/copy.png", f"train/sandal/{first.name}"],
            ["test/sandal/same.bmp", f"train/sandal/{second.name}"],
        ]
    )
    assert {item.distance for item in found.items} == {0}


def test_copies_in_one_split_are_a_group_and_another_label_is_told(photos: Path) -> None:
    sandal, trouser = files_of(photos / "train" / "sandal")[0], photos / "train" / "trouser"
    for name in ("a.png", "b.png"):
        shutil.copy(files_of(trouser)[-1], trouser / name)
    shutil.copy(sandal, trouser / "c.png")
    check = check_data(photos, validation_fraction=0)
    (group,) = paths_of(expect(check, "same-in-split", "warning"))
    assert group[1:] == ["train/trouser/a.png", "train/trouser/b.png"]
    (conflict,) = paths_of(expect(check, "same-with-other-label", "warning"))
    assert conflict == [f"train/sandal/{sandal.name}", "train/trouser/c.png"]
    assert (check.exit_code(), check.exit_code(strict=True)) == (0, 2)


def test_copies_meet_across_splits_that_training_will_cut(photos: Path) -> None:
    data = photos / "train"
    for path in files_of(data / "sandal"):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    check = check_data(data)
    found = expect(check, "same-across-splits", "error")
    assert {image.split for item in found.items for image in item.images} == {"train", "val", "test"}
    assert any("split by class with seed 0" in note for note in check.notes)
    assert check.counts == check_data(data, near=None).counts
    assert check_data(data, seed=1).find("same-across-splits") != found


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("SANDAL", "differ in upper and lower case alone"),
        ("Ankle-Boot", "differ in case, spaces, hyphens or underscores alone"),
    ],
)
def test_class_names_that_differ_in_their_spelling_alone_are_an_error(photos: Path, name: str, difference: str) -> None:
    (photos / "test" / name).mkdir()
    noise(1, 28, 28).save(photos / "test" / name / "x.png")
    check = check_data(photos)
    (item,) = expect(check, "same-name", "error").items
    assert repr(name) in item.text
    assert difference in item.text
    # The rest is looked at all the same.
    assert "splits do not have the same classes" in expect(check, "refused", "error").items[0].text
    assert check.images == 97


def test_class_names_in_two_encodings_of_one_letter_are_an_error(photos: Path) -> None:
    for form in ("NFC", "NFD"):
        folder = photos / "train" / unicodedata.normalize(form, "Café")
        folder.mkdir()
        noise(len(folder.name), 28, 28).save(folder / "x.png")
    (item,) = expect(check_data(photos), "same-name", "error").items
    assert "look the same, but are other Unicode characters" in item.text


def test_numbers_with_a_sign_are_not_one_name(tmp_path: Path) -> None:
    rows = ["path,label"]
    for k, label in enumerate(("-1", "1", "-1", "1", "-1", "1")):
        noise(k, 16, 16).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{label}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert check_data(tmp_path / "list.csv").find("same-name") is None


def test_a_class_that_a_split_lacks_and_an_empty_one_are_errors(photos: Path) -> None:
    shutil.rmtree(photos / "test" / "trouser")
    (photos / "train" / "bag").mkdir()
    check = check_data(photos)
    assert "'trouser' has no image in test" in expect(check, "missing-class", "error").items[0].text
    assert expect(check, "empty-class", "error").items[0].text == "'bag'"


def test_few_images_and_uneven_classes_are_warnings(photos: Path) -> None:
    for path in files_of(photos / "train" / "sandal")[3:]:
        path.unlink()
    check = check_data(photos)
    assert expect(check, "few-images", "warning").items[0].text == "'sandal' has 2"
    assert "11 times as many" in expect(check, "uneven", "warning").title


def test_odd_sizes_and_ways_of_storing_are_told(photos: Path) -> None:
    folder = photos / "train" / "sandal"
    noise(1, 1, 1).save(folder / "dot.png")
    noise(2, 20, 300).save(folder / "long.png")
    noise(3, 200, 190).save(folder / "large.png")
    noise(4, 28, 28, 4).save(folder / "alpha.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(5, 28, 20).save(folder / "turned.jpg", exif=turned)
    noise(6, 28, 28).convert("L").save(
        folder / "film.gif", save_all=True, append_images=[noise(7, 28, 28).convert("L")]
    )
    noise(8, 28, 28).save(folder / "png.jpg", "PNG")
    check = check_data(photos)
    kinds = {
        "tiny": ("warning", ["dot"], "1 x 1"), "stretched": ("warning", ["long"], "300 x 20"),
        "far-size": ("note", ["large"], "190 x 200"), "odd-mode": ("note", ["alpha"], "RGBA"),
        "turned": ("note", ["turned"], "turned"), "animated": ("note", ["film"], "2 frames"),
        "wrong-suffix": ("note", ["png"], "is PNG"),
        "grey-among-colour": ("note", ["alpha", "dot", "large", "long", "png", "turned"], ""),
    }  # fmt: skip
    for kind, (level, names, text) in kinds.items():
        found = expect(check, kind, level)
        assert sorted(Path(item.images[0].path).stem for item in found.items) == names, kind
        assert found.items[0].text == text


def test_an_image_of_very_many_pixels_is_a_warning_and_a_bomb_is_unreadable(photos: Path) -> None:
    Image.new("1", (9000, 6000)).save(photos / "train" / "sandal" / "large.png")
    Image.new("1", (20_000, 10_000)).save(photos / "train" / "sandal" / "bomb.png")
    check = check_data(photos, near=None)
    assert paths_of(expect(check, "very-large", "warning")) == [["train/sandal/large.png"]]
    assert paths_of(expect(check, "unreadable", "error")) == [["train/sandal/bomb.png"]]


def test_what_training_would_never_see_is_told(photos: Path) -> None:
    image = files_of(photos / "train" / "sandal")[0]
    shutil.copy(image, photos / "train" / "loose.png")
    shutil.copy(image, photos / "train" / "sandal" / "no-suffix")
    (photos / "train" / "sandal" / "phone.HEIC").write_bytes(b"ftyp")
    (photos / "labels.txt").write_text("sandal")
    check = check_data(photos)
    assert paths_of(expect(check, "no-class", "warning")) == [["train/loose.png"]]
    assert sorted(paths_of(expect(check, "left-out", "warning"))) == [
        ["train/sandal/no-suffix"],
        ["train/sandal/phone.HEIC"],
    ]
    assert paths_of(expect(check, "ignored", "note")) == [["labels.txt"]]
    assert check.images == 96


def test_links_that_lead_in_a_circle_do_not_keep_it_from_an_end(photos: Path) -> None:
    (photos / "train" / "sandal" / "itself").symlink_to("itself")
    (photos / "train" / "trouser" / "up").symlink_to(photos, target_is_directory=True)
    check = check_data(photos)
    assert sorted(paths_of(expect(check, "loop", "warning"))) == [["train/sandal/itself"], ["train/trouser/up"]]
    assert check.images == 96


def test_names_that_are_no_text_and_names_with_marks_are_read_and_told(photos: Path) -> None:
    image = files_of(photos / "train" / "sandal")[0].read_bytes()
    odd = os.fsdecode(b"\xff\xfe [bold] \n.png")
    (photos / "train" / "sandal" / odd).write_bytes(image)
    (group,) = paths_of(expect(check_data(photos, validation_fraction=0), "same-in-split", "warning"))
    assert f"train/sandal/{odd}" in group


def test_a_folder_that_can_not_be_entered_is_an_error(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(folder: str | os.PathLike[str]) -> Any:
        if Path(folder).name == "sandal":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    check = check_data(photos)
    found = expect(check, "denied", "error")
    assert sorted(paths_of(found)) == [["test/sandal"], ["train/sandal"]]
    assert found.items[0].text == "Permission denied"
    assert check.images == 64


def test_a_manifest_whose_test_split_lacks_a_class_is_looked_at_all_the_same(tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for k, (label, split) in enumerate([("cat", "train"), ("dog", "train"), ("cat", "test")]):
        noise(k, 24, 24).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{label},{split}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    check = check_data(tmp_path / "list.csv")
    assert (check.images, check.readable) == (3, 3)
    assert "no image of class 'dog' in test" in expect(check, "refused", "error").items[0].text
    assert expect(check, "missing-class", "error").items[0].text.startswith("'dog' has no image in test")


def test_a_flat_folder_is_refused_but_its_images_are_looked_at(photos: Path) -> None:
    check = check_data(photos / "train" / "sandal")
    assert "no folder per class" in expect(check, "refused", "error").items[0].text
    assert check.readable == 24


def test_images_out_of_an_array_are_checked_too(tmp_path: Path) -> None:
    from dropkd.demo.images import load_demo_split

    split = load_demo_split("train")
    rows = ["emotion,pixels,Usage"]
    for k in range(40):
        face = np.asarray(Image.fromarray(split.images[k % 39]).resize((48, 48)))
        rows.append(f"{k % 7},{' '.join(map(str, face.reshape(-1)))},{'Training' if k < 35 else 'PublicTest'}")
    (tmp_path / "fer2013.csv").write_text("\n".join(rows))
    found = expect(check_data(tmp_path / "fer2013.csv"), "same-across-splits", "error")
    assert [image.path for image in found.items[0].images] == ["train/Angry/00000", "val/Sad/00004"]


def test_the_answer_does_not_depend_on_the_number_of_threads(photos: Path) -> None:
    shutil.copy(files_of(photos / "train" / "sandal")[0], photos / "test" / "sandal" / "copy.png")
    one, four = (check_data(photos, workers=workers).to_dict() for workers in (1, 4))
    assert {**one, "seconds": 0} == {**four, "seconds": 0}


def test_what_cannot_be_checked_is_an_error_in_words(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_data(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        check_data(tmp_path / "void")
    with pytest.raises(ConfigError, match=rf"near: must be 0 to {MOST_NEAR} bits of 256, got 257"):
        check_data(photos, near=257)
    with pytest.raises(ConfigError, match="workers: must be at least 1, got 0"):
        check_data(photos, workers=0)
    with pytest.raises(ConfigError, match="validation_fraction"):
        check_data(photos, validation_fraction=2)
