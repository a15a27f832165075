"""Decoded images on disk: the same bytes come back, and nothing that is damaged."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropkd.data.pixel_file import SCALES, PixelFile, Seen

SIZES = np.array([(9, 7), (16, 24), (1, 1)], np.int64)
SEEN = Seen(True, 6)


def make_pixels(row: int, scale: int = 1) -> np.ndarray:
    height, width = -(-SIZES[row] // scale)
    return np.random.default_rng([row, scale]).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pixels"


def test_what_is_kept_is_found_by_another_reader(folder: Path) -> None:
    file = PixelFile(folder, SIZES)
    reader = PixelFile(folder, SIZES)
    assert reader.see(1) is None
    assert not folder.exists()
    for row in range(3):
        for scale in SCALES:
            file.keep(row, scale, make_pixels(row, scale), SEEN)
    for one in (file, reader, copy.copy(file)):
        assert one.count() == 3
        for row in range(3):
            assert one.see(row) == SEEN
            for scale in SCALES:
                assert np.array_equal(one.find(row, scale), make_pixels(row, scale))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.sets(st.tuples(st.integers(0, 2), st.sampled_from(SCALES))))
def test_what_is_not_kept_is_not_found(tmp_path_factory: pytest.TempPathFactory, kept: set[tuple[int, int]]) -> None:
    file = PixelFile(tmp_path_factory.mktemp("pixels"), SIZES)
    for row, scale in kept:
        file.keep(row, scale, make_pixels(row, scale), SEEN)
    for row in range(3):
        assert (file.see(row) is None) == all(kept_row != row for kept_row, _ in kept)
        for scale in SCALES:
            assert (file.find(row, scale) is None) == ((row, scale) not in kept)
    assert file.count() == len({row for row, _ in kept})


@pytest.mark.parametrize("name", ["pixels-1.u8", "index.bin"])
def test_a_flipped_byte_makes_an_image_absent_until_it_is_kept_again(folder: Path, name: str) -> None:
    PixelFile(folder, SIZES).keep(0, 1, make_pixels(0), SEEN)
    content = bytearray((folder / name).read_bytes())
    # Of the index, what is noted of the camera.
    content[6] ^= 1
    (folder / name).write_bytes(content)
    file = PixelFile(folder, SIZES)
    assert file.find(0) is None
    assert file.see(0) is None
    file.keep(0, 1, make_pixels(0), SEEN)
    assert np.array_equal(file.find(0), make_pixels(0))
    assert file.see(0) == SEEN


def test_pixels_of_another_size_than_was_told_are_not_kept(folder: Path) -> None:
    file = PixelFile(folder, SIZES)
    file.keep(0, 1, make_pixels(1), SEEN)
    assert file.find(0) is None
    assert not folder.exists()


def test_what_is_read_can_not_be_written_to(folder: Path) -> None:
    file = PixelFile(folder, SIZES)
    file.keep(0, 1, make_pixels(0), SEEN)
    found = file.find(0)
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0


def test_a_full_disk_ends_the_writing_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PixelFile(folder, SIZES)
    file.keep(0, 1, make_pixels(0), SEEN)
    # A full disk takes the first part of what is written.
    monkeypatch.setattr("os.pwrite", lambda number, data, start: len(bytes(data)) // 2)
    file.keep(1, 1, make_pixels(1), SEEN)
    monkeypatch.undo()
    assert not file.can_write
    file.keep(2, 1, make_pixels(2), SEEN)
    assert [file.find(row) is None for row in range(3)] == [False, True, True]


def test_a_folder_that_is_removed_meanwhile_can_still_be_read(folder: Path) -> None:
    file = PixelFile(folder, SIZES)
    file.keep(0, 1, make_pixels(0), SEEN)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert np.array_equal(file.find(0), make_pixels(0))
    file.keep(1, 1, make_pixels(1), SEEN)
    assert np.array_equal(file.find(1), make_pixels(1))


def test_a_file_in_place_of_the_folder_ends_the_writing(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_text("in the way")
    file = PixelFile(tmp_path / "pixels", SIZES)
    assert file.see(0) is None
    file.keep(0, 1, make_pixels(0), SEEN)
    assert not file.can_write
    assert file.find(0) is None
