"""What stands in an export's metadata: true, and nothing of the machine that it was made on."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError
from dropkd.export import export_formats
from dropkd.export.preparing import prepare_student


def change(run: Path, target: Path, *, student: str | None = None, teacher: str | None = None) -> dropkd.Run:
    """Return a copy of a run that says of itself that it started from published weights, or had another teacher."""
    shutil.copytree(run, target)
    config, metrics = target / "config.yaml", target / "metrics.json"
    if student is not None:
        text = config.read_text().replace("name: repghostnet_050", f"name: {student}")
        config.write_text(text.replace("pretrained: false", "pretrained: true"))
    if teacher is not None:
        said = json.loads(metrics.read_text())
        said["teacher"] = {"name": teacher, "source": teacher, "parameters": 1, "splits": {}}
        metrics.write_text(json.dumps(said))
    return dropkd.Run.open(target)


def read_parts(path: Path) -> Iterator[bytes]:
    """Give the content of a file and, of an archive, that of each file in it."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(entry) for entry in archive.infolist())


def test_a_licence_is_the_users_else_that_of_the_weights_else_not_stated(branched_run: Path, tmp_path: Path) -> None:
    started = change(branched_run, tmp_path / "run", student="fastvit_t8")
    assert prepare_student(branched_run).facts["licence"] == "not stated"
    known = prepare_student(started).facts
    assert known["licence"] == "fastvit-license"
    assert "weights of fastvit_t8" in known["licence_reason"]
    assert known["weights"] == [{"part": "student", "name": "fastvit_t8", "licence": "fastvit-license"}]
    assert prepare_student(started, licence="MIT").facts["licence"] == "MIT"
    with pytest.raises(ConfigError, match="--licence is empty"):
        prepare_student(started, licence=" ")


def test_an_export_names_no_place_of_this_machine(branched_run: Path, tmp_path: Path, clothes: Path) -> None:
    run = change(branched_run, tmp_path / "run", teacher=str(tmp_path / "secret-place" / "teacher.onnx"))
    written = export_formats(run, ["onnx", "pt2", "openvino", "torchscript"], output=tmp_path / "out")
    assert json.loads(written[0].description.read_text())["teacher"] == "onnx file"
    source, libraries = Path(dropkd.__file__).parent, Path(torch.__file__).parents[1]
    places = [str(place).encode() for place in (tmp_path, clothes, source, libraries)] + [b"secret-place"]
    for path in (tmp_path / "out").iterdir():
        assert [place for place in places if any(place in part for part in read_parts(path))] == []


def test_the_command_says_the_licence(branched_run: Path, tmp_path: Path) -> None:
    arguments = ["export", str(branched_run), "--to", "pt2", "--output", str(tmp_path), "--licence", "CC BY 4.0"]
    assert run_command_line(arguments) == 0
    assert json.loads((tmp_path / "student.pt2.json").read_text())["licence"] == "CC BY 4.0"
