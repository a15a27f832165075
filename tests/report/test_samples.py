from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data.pictures import ListedPictures
from dropkd.report.samples import choose_samples, embed_picture, pick_most


def _decode(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_each_image_is_in_one_group_at_most() -> None:
    random = np.random.default_rng(0)
    student, teacher = random.random(200) < 0.7, random.random(200) < 0.8
    groups = choose_samples(student, teacher, random.random(200), random.random(200))
    rows = [row for group in groups for row in group.rows]
    assert len(rows) == len(set(rows)) == 18
    assert [g.total for g in groups] == [
        int((~student & ~teacher).sum()),
        int((teacher & ~student).sum()),
        int((student & ~teacher).sum()),
    ]


def test_the_surest_mistake_comes_first() -> None:
    student = np.array([False, False, True])
    groups = choose_samples(student, None, np.array([0.6, 0.9, 0.8]), np.array([0.3, 0.05, 0.8]))
    assert groups[0].rows == (1, 0)
    assert groups[1].rows == (2,)


def test_unknown_probabilities_do_not_disturb_the_choice() -> None:
    nothing = np.full(3, np.nan)
    groups = choose_samples(np.array([False, True, False]), None, nothing, nothing)
    assert groups[0].rows == (0, 2)


def test_ties_keep_the_order_of_the_split() -> None:
    assert pick_most(np.array([True, False, True, True]), np.array([1.0, 9.0, 1.0, 2.0]), 3) == (3, 0, 2)


def test_small_images_are_kept_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = embed_picture(tmp_path, "a.png")
    assert picture.is_small
    assert (np.asarray(_decode(picture.uri)) == pixels).all()


def test_large_images_are_shrunk(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "a.jpg")
    picture = embed_picture(tmp_path, "a.jpg")
    assert (picture.width, picture.height) == (160, 107)
    assert picture.uri is not None
    assert picture.uri.startswith("data:image/jpeg;base64,")
    assert len(picture.uri) < 10_000


def test_unusual_kinds_of_image_are_shown_as_they_look(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert _decode(embed_picture(tmp_path, "clear.png").uri).getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((8, 8), 32_896, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert _decode(embed_picture(tmp_path, "deep.png").uri).getpixel((0, 0)) == 128
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    assert _decode(embed_picture(tmp_path, "print.jpg").uri).mode == "RGB"
    upright = Image.new("L", (8, 4))
    exif = upright.getexif()
    exif[0x0112] = 6
    upright.save(tmp_path / "turned.png", exif=exif)
    assert _decode(embed_picture(tmp_path, "turned.png").uri).size == (4, 8)


@pytest.mark.parametrize("path", ["gone.png", "../secret.png", "/etc/hostname", "text.png", "a/../../secret.png"])
def test_what_is_no_image_below_the_data_is_not_shown(tmp_path: Path, path: str) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    data = tmp_path / "data"
    (data / "a").mkdir(parents=True)
    (data / "text.png").write_text("no image")
    assert embed_picture(data, path).uri is None
    assert embed_picture(None, path).uri is None


def test_images_out_of_listed_data_are_shown_and_others_are_not(tmp_path: Path) -> None:
    for k, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (6, 4), (40 * k,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,x\nb.png,y\nc.png,y\n")
    pictures = ListedPictures(tmp_path / "list.csv")
    assert _decode(embed_picture(pictures, "b.png").uri).getpixel((0, 0)) == (40, 40, 40)
    (tmp_path / "c.png").unlink()
    assert [embed_picture(pictures, path).uri for path in ("c.png", "d.png", "../a.png")] == [None] * 3
