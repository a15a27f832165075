"""What an earlier start has read of image files is not read again, unless anything says that it may have changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dropkd.data import open_data, remembering
from dropkd.data.cache_place import cache_folder
from dropkd.data.pixel_folders import pixels_root
from dropkd.data.reading import Readings, read_images
from dropkd.data.remembering import Remembering, read_files
from dropkd.data.stores import FileStore, name_below

SMALL, MIXED = [(20, 24)] * 6, [(20, 24), (130, 40), (20, 24), (50, 140), (20, 24), (20, 24)]
Write = Callable[[list[tuple[int, int]]], list[Path]]


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(remembering, "_LEAST_FILES", 2)
    # The files of a test are younger than its reading by less than a tick of some clocks.
    monkeypatch.setattr(remembering, "_SETTLED_NS", -(10**10))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(sizes: list[tuple[int, int]]) -> list[Path]:
        (tmp_path / "photos").mkdir()
        return [draw(tmp_path / "photos" / f"{i}.png", size, i) for i, size in enumerate(sizes)]

    return write


def draw(path: Path, size: tuple[int, int], seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def read(paths: list[Path], how: Remembering | None = None) -> tuple[Readings, list[int]]:
    """Return the readings, and how many files were read so far at each report."""
    told: list[int] = []
    readings = read_files(FileStore(paths), paths[0].parent, how or Remembering(), lambda done, of: told.append(done))
    return readings, told


def assert_same(readings: Readings, paths: list[Path]) -> None:
    plain = read_images(FileStore(paths))
    assert readings.failures == plain.failures
    assert readings.digests == plain.digests
    assert np.array_equal(readings.sizes, plain.sizes)
    assert (readings.pixels is None) == (plain.pixels is None)
    if readings.pixels is not None and plain.pixels is not None:
        whole = [i for i in range(len(paths)) if i not in plain.failures]
        assert np.array_equal(readings.pixels[whole], plain.pixels[whole])


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that each file is added to as it is read."""
    names: list[str] = []
    own = FileStore.read

    def counted(self: FileStore, index: int) -> bytes:
        names.append(Path(self.paths[index]).name)
        return own(self, index)

    monkeypatch.setattr(FileStore, "read", counted)
    return names


@pytest.mark.parametrize("sizes", [SMALL, MIXED], ids=["small", "mixed"])
def test_files_that_are_the_same_are_not_read_again(
    sizes: list[tuple[int, int]], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(sizes)
    first, _ = read(paths)
    assert_same(first, paths)
    again = count_reads(monkeypatch)
    second, told = read(paths)
    assert again == []
    assert told == [6]
    assert_same(second, paths)


@pytest.mark.parametrize("sizes", [SMALL, MIXED], ids=["small", "mixed"])
def test_content_that_changes_under_the_same_size_and_date_is_read(sizes: list[tuple[int, int]], write: Write) -> None:
    paths = write(sizes)
    for path in paths:
        # Of one length, whatever is drawn.
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    paths = [path.with_suffix(".bmp") for path in paths]
    read(paths)
    was = paths[2].stat()
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 1
    paths[2].write_bytes(content)
    os.utime(paths[2], ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (paths[2].stat().st_size, paths[2].stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    assert_same(read(paths)[0], paths)


def test_of_large_images_only_those_that_are_new_or_changed_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(MIXED)
    read(paths)
    draw(paths[1], (131, 40), 9)
    paths.pop(4).unlink()
    paths.append(draw(paths[0].with_name("new.png"), (30, 30), 10))
    again = count_reads(monkeypatch)
    readings, told = read(paths)
    assert sorted(again) == ["1.png", "new.png"]
    assert told == [4, 6]
    assert_same(readings, paths)
    again.clear()
    read(paths)
    assert again == []


def test_a_file_that_another_takes_the_place_of_is_read(write: Write) -> None:
    paths = write(MIXED)
    read(paths)
    os.replace(draw(paths[0].with_name("other.png"), (20, 24), 9), paths[4])  # noqa: PTH105 - with its own inode
    assert_same(read(paths)[0], paths)


@pytest.mark.parametrize("sizes", [SMALL, MIXED], ids=["small", "mixed"])
def test_what_can_not_be_read_is_tried_each_time(sizes: list[tuple[int, int]], write: Write) -> None:
    paths = write(sizes)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:60])
    paths[3].unlink()
    for _ in range(2):
        readings, _ = read(paths)
        assert sorted(readings.failures) == [2, 3]
        assert_same(readings, paths)
    paths[2].write_bytes(whole)
    readings, _ = read(paths)
    assert sorted(readings.failures) == [3]
    assert_same(readings, paths)


def test_a_file_that_has_just_been_written_is_not_trusted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "_SETTLED_NS", 3 * 10**9)
    paths = write(MIXED)
    read(paths)
    again = count_reads(monkeypatch)
    read(paths)
    assert len(set(again)) == 6


@pytest.mark.parametrize("sizes", [SMALL, MIXED], ids=["small", "mixed"])
def test_all_are_read_where_that_is_asked_for(
    sizes: list[tuple[int, int]], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(sizes)
    read(paths)
    again = count_reads(monkeypatch)
    assert_same(read(paths, Remembering(anew=True))[0], paths)
    assert set(again) == {path.name for path in paths}


def test_another_version_of_a_decoder_has_everything_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(MIXED)
    read(paths)
    monkeypatch.setattr(remembering, "decoder_versions", lambda: ("another",))
    again = count_reads(monkeypatch)
    read(paths)
    assert len(set(again)) == 6


@pytest.mark.parametrize("sizes", [SMALL, MIXED], ids=["small", "mixed"])
def test_a_flipped_byte_in_what_is_kept_changes_no_answer(sizes: list[tuple[int, int]], write: Write) -> None:
    paths = write(sizes)
    read(paths)
    files = sorted(path for path in cache_folder().rglob("*") if path.is_file())
    assert [path.name for path in files if path.suffix != ".npz"] == (
        ["about.json", "images.u8"] if sizes is SMALL else []
    )
    for file in files:
        whole = file.read_bytes()
        for place in np.linspace(0, len(whole) - 1, 60).astype(int).tolist():
            broken = bytearray(whole)
            broken[place] ^= 0x10
            file.write_bytes(broken)
            assert_same(read(paths)[0], paths)
        file.write_bytes(whole)


def test_what_is_kept_may_be_cut_short(write: Write) -> None:
    paths = write(SMALL)
    read(paths)
    for file in [path for path in cache_folder().rglob("*") if path.is_file()]:
        file.write_bytes(file.read_bytes()[:-1])
        assert_same(read(paths)[0], paths)


def test_no_pixels_are_written_where_none_may_be(write: Write) -> None:
    paths = write(SMALL)
    for limit in (0, 6 * 20 * 24 * 3 - 1):
        assert_same(read(paths, Remembering(pixel_bytes=limit))[0], paths)
        assert not list(pixels_root().glob("*")) if pixels_root().exists() else True


def test_a_place_that_can_not_be_written_changes_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DROPKD_CACHE", str(tmp_path / "file" / "below"))
    paths = write(SMALL)
    for _ in range(2):
        assert_same(read(paths)[0], paths)


def test_pixels_from_the_disk_can_be_written_to_without_changing_what_is_kept(write: Write) -> None:
    paths = write(SMALL)
    read(paths)
    readings, _ = read(paths)
    assert readings.pixels is not None
    readings.pixels[:] = 0
    assert_same(read(paths)[0], paths)


def test_other_data_sets_make_room_for_the_pixels_of_a_new_one(write: Write, tmp_path: Path) -> None:
    paths = write(SMALL)
    read(paths)
    (tmp_path / "others").mkdir()
    others = [draw(tmp_path / "others" / f"{i}.png", (20, 24), 20 + i) for i in range(6)]
    read(others, Remembering(pixel_bytes=10_000))
    (folder,) = pixels_root().iterdir()
    assert str(tmp_path / "others") in (folder / "about.json").read_text()


def test_a_data_set_opens_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, name in enumerate(("cats", "dogs")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            draw(tmp_path / "pets" / name / f"{i}.png", (20, 24), 12 * k + i)
    first = open_data(tmp_path / "pets")
    again = count_reads(monkeypatch)
    second = open_data(tmp_path / "pets")
    assert again == []
    for one, other in zip(first.splits, second.splits, strict=True):
        assert one.fingerprint() == other.fingerprint()
        assert one.pack is not None
        assert other.pack is not None
        assert all(np.array_equal(one.pack[i], other.pack[i]) for i in range(len(one)))


names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=4)
parts = st.lists(names.filter(lambda name: name != ".."), min_size=1, max_size=3)


@given(parts, st.sampled_from([".", "/", "/data", "data/set", "../x"]))
def test_names_below_a_root_are_those_that_pathlib_gives(below: list[str], root: str) -> None:
    path = Path(root, *below)
    expected = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    assert name_below(Path(root), [path]) == [expected]
