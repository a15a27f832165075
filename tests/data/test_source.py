from __future__ import annotations

from pathlib import Path

import pytest

from dropkd.data import absolute_source, open_data
from dropkd.data.source import read_source
from dropkd.errors import ConfigError, DataError


def test_a_folder_with_a_question_mark_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cats?dogs=2").mkdir()
    assert read_source(tmp_path / "cats?dogs=2").path == tmp_path / "cats?dogs=2"


@pytest.mark.parametrize("text", ["faces?", "faces?labels", "faces?labels=", "faces?=x", "faces?labels=a&labels=b"])
def test_what_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must look like option=value&option=value"):
        read_source(text)


def test_an_option_of_a_plain_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'labels' for this kind of data\. It has none\."):
        open_data(f"{tmp_path}?labels=x")


def test_names_mean_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("")
    assert absolute_source("faces") == tmp_path / "faces"
    assert absolute_source("faces?labels=theirs.txt") == Path(f"{tmp_path}/faces?labels=theirs.txt")
    assert absolute_source("faces?labels=mine.txt") == Path(f"{tmp_path}/faces?labels={tmp_path}/mine.txt")
    assert str(absolute_source("torchvision:SVHN")) == f"torchvision:SVHN?root={tmp_path}/data"
    assert str(absolute_source("torchvision:SVHN?download=true&root=x")) == (
        f"torchvision:SVHN?download=true&root={tmp_path}/x"
    )


def test_a_name_is_absolute_after_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("faces?labels=a.txt", "torchvision:CIFAR10"):
        once = absolute_source(name)
        assert absolute_source(once) == once


def test_a_name_that_no_file_can_have_is_a_folder_that_is_not_there() -> None:
    assert read_source("x" * 5000).place == "x" * 5000
    with pytest.raises(DataError, match="can't read the data folder"):
        open_data("x" * 5000)
