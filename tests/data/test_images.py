from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dropkd.data import load_image
from dropkd.data.images import decode_reduced
from dropkd.errors import DataError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def _pixels(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_a_grey_image_gets_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 77).save(tmp_path / "a.png")
    assert (_pixels(tmp_path / "a.png") == 77).all()
    assert _pixels(tmp_path / "a.png").shape == (3, 4, 3)


def test_a_bilevel_image_becomes_black_and_white(tmp_path: Path) -> None:
    Image.new("1", (4, 3), 1).save(tmp_path / "a.png")
    assert (_pixels(tmp_path / "a.png") == 255).all()


def test_a_cmyk_image_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(_pixels(tmp_path / "a.jpg").astype(int) - RED).max() < 10


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_16_bit_image_keeps_its_upper_eight_bits(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 255, 256, 40_000, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    assert _pixels(tmp_path / f"a{suffix}")[0, :, 0].tolist() == [0, 0, 1, 156, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 10.0, 255.0], [0, 10, 255]), ([-1.0, 0.0, 1.0], [0, 128, 255])],
)
def test_a_floating_point_image_is_brought_to_eight_bits(
    tmp_path: Path, values: list[float], expected: list[int]
) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert _pixels(tmp_path / "a.tif")[0, :, 0].tolist() == expected


def test_a_32_bit_image_of_16_bit_values_keeps_their_upper_eight_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32_896, 65_535]], np.int32)).save(tmp_path / "a.tif")
    assert _pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 128, 255]


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.save(tmp_path / "a.png")
    Image.new("LA", (2, 1), (0, 0)).save(tmp_path / "grey.png")
    assert _pixels(tmp_path / "a.png").tolist() == [[[*WHITE], [*RED]]]
    assert (_pixels(tmp_path / "grey.png") == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_palette_with_transparency_lies_on_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, *RED])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / f"a{suffix}", transparency=0)
    assert _pixels(tmp_path / f"a{suffix}").tolist() == [[[*WHITE], [*RED]]]


def test_a_palette_with_graded_transparency_is_blended_with_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=bytes([128, 255]))
    assert _pixels(tmp_path / "a.png").tolist() == [[[127, 127, 127], [*RED]]]


def test_a_single_colour_named_transparent_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), RED)
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert _pixels(tmp_path / "a.png").tolist() == [[[*WHITE], [*RED]]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_of_an_animated_image_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 255, 0))]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    assert np.abs(_pixels(tmp_path / f"a{suffix}").astype(int) - RED).max() < 10


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_rotation_noted_by_the_camera_is_carried_out(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = RED
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.ascontiguousarray(undo[orientation](upright))).save(path, exif=exif, quality=100, subsampling=0)
    assert _pixels(path).shape == (16, 32, 3)
    assert np.abs(_pixels(path).astype(int) - upright).max() < 12
    size, _ = decode_reduced(path.read_bytes())
    assert size == (16, 32)


def test_broken_metadata_do_not_make_an_image_unreadable(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), RED).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00no such thing")
    assert _pixels(tmp_path / "a.jpg").shape == (16, 16, 3)


def test_the_reduced_reading_of_a_jpeg_gives_its_full_size(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), RED).save(tmp_path / "a.jpg")
    size, image = decode_reduced((tmp_path / "a.jpg").read_bytes())
    assert size == (480, 640)
    assert image.size == (80, 60)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_found_by_either_reading(tmp_path: Path, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, progressive=progressive)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"can't read the image '.*a\.jpg': .*truncated"):
        load_image(path)
    with pytest.raises(OSError, match="truncated"):
        decode_reduced(path.read_bytes())


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(DataError, match=r"a\.png': not an image that can be recognised\."):
        load_image(tmp_path / "a.png")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png': the file is empty \(0 bytes\)\."):
        load_image(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png': no such file \(a broken link\?\)\."):
        load_image(tmp_path / "a.png")


def test_a_document_in_disguise_is_not_opened_by_a_foreign_program(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(DataError, match="not an image that can be recognised"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git-lfs's pointer to an image"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page, not an image"),
    ],
)
def test_what_a_download_left_in_place_of_an_image_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_image(tmp_path / "a.png")
