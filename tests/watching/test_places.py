"""Nothing outside the folder is read, whatever names and links say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropkd.errors import RunError
from dropkd.watching.places import is_plain_name, open_inside, read_inside


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "run"
    (folder / "baseline").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("log")
    (folder / "baseline" / "metrics.jsonl").write_text("inner log")
    return folder


def test_files_of_the_folder_and_of_folders_in_it_are_read(run: Path) -> None:
    assert read_inside(run, "metrics.jsonl") == b"log"
    assert read_inside(run, "baseline", "metrics.jsonl") == b"inner log"


@pytest.mark.parametrize("names", [("..", "secret.txt"), ("../secret.txt",), ("",), (".",), ("a/b",), ("x\0y",), ()])
def test_names_that_lead_elsewhere_are_refused(run: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(RunError, match="is not within"):
        open_inside(run, *names)


def test_an_absolute_path_is_no_name(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not within"):
        read_inside(run, str(tmp_path / "secret.txt"))
    assert not is_plain_name("/etc/passwd")
    assert is_plain_name("resnet18-seed 0 \N{SNOWMAN}")


def test_links_are_not_followed_be_they_files_or_folders(run: Path, tmp_path: Path) -> None:
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    (run / "up").symlink_to(tmp_path)
    # Even one that stays inside: nobody looks where it leads.
    (run / "own").symlink_to(run / "metrics.jsonl")
    for names in (("link.txt",), ("up", "secret.txt"), ("own",)):
        with pytest.raises(RunError, match="is a link"):
            read_inside(run, *names)


def test_the_folder_itself_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run)
    assert read_inside(tmp_path / "latest", "metrics.jsonl") == b"log"


def test_a_pipe_or_a_folder_is_no_file_and_nobody_waits_for_it(run: Path) -> None:
    os.mkfifo(run / "pipe")
    for name in ("pipe", "baseline"):
        with pytest.raises(RunError, match="is no file"):
            read_inside(run, name)


def test_a_file_that_is_not_there_is_just_that(run: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_inside(run, "config.yaml")


def test_a_file_that_is_too_large_is_refused(run: Path) -> None:
    with pytest.raises(RunError, match="more than 2 bytes"):
        read_inside(run, "metrics.jsonl", limit=2)


def test_no_descriptor_is_left_open(run: Path, tmp_path: Path) -> None:
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    before = _count_descriptors()
    for names in (("link.txt",), ("nothing",), ("baseline",), ("no", "thing"), ("baseline", "metrics.jsonl")):
        for _ in range(3):
            try:
                os.close(open_inside(run, *names))
            except (OSError, RunError):
                continue
    assert _count_descriptors() == before


def _count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
