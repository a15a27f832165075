"""Core ML's package is written anywhere and runs on macOS alone: what can be seen of it elsewhere."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.export import FORMATS
from dropkd.export.formats import coreml_folder
from dropkd.export.preparing import Prepared, prepare_student


@pytest.fixture(scope="module")
def coremltools() -> Any:
    return coreml_folder._import()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were no Mac, where these tests are run on one."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")


def read_spec(coremltools: Any, path: Path) -> Any:
    return coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()


@pytest.mark.usefixtures("elsewhere")
def test_it_is_not_written_unchecked_unless_that_is_asked_for(
    distilled_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], coremltools: Any
) -> None:
    target = tmp_path / "student.mlpackage"
    arguments = ["export", str(distilled_run), "--to", "coreml", "--output", str(target)]
    assert run_command_line(arguments) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "can't be compared with the network here: Core ML runs on macOS alone, and this is Linux" in shown
    assert "--unchecked" in shown
    assert list(tmp_path.iterdir()) == []
    assert run_command_line([*arguments, "--unchecked"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Not compared with the network: Core ML runs on macOS alone" in shown
    assert "Same class" not in shown
    described = json.loads((tmp_path / "student.mlpackage.json").read_text())
    assert described["parity"] is None
    assert described["unchecked"].startswith("Core ML runs on macOS alone")
    # An earlier export is replaced; a folder that is none is not.
    assert run_command_line([*arguments, "--unchecked"]) == 0
    (tmp_path / "student.mlpackage.json").unlink()
    assert run_command_line([*arguments, "--unchecked"]) == 2
    assert "it is no earlier export" in capsys.readouterr().err
    spec = read_spec(coremltools, target)
    (images,), (logits,) = spec.description.input, spec.description.output
    ranges = images.type.multiArrayType.shapeRange.sizeRanges
    assert (images.name, logits.name) == ("images", "logits")
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 256), (3, 3), (28, 28), (28, 28)]
    said = dict(spec.description.metadata.userDefined)
    assert json.loads(said["classes"]) == ["ankle_boot", "sandal", "trouser"]
    assert json.loads(said["input"])["batch"] == "1 to 256"
    assert said["method"] == "reviewkd"
    assert spec.description.metadata.license == "not stated"


@pytest.mark.usefixtures("elsewhere")
def test_with_the_preprocessing_inside_it_takes_an_rgb_image(
    distilled_run: Path, tmp_path: Path, coremltools: Any
) -> None:
    written = dropkd.export_run(
        distilled_run, to="coreml", output=tmp_path, preprocessing=True, unchecked=True, licence="MIT"
    )
    spec = read_spec(coremltools, written.path)
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (28, 28)
    assert image.colorSpace == image.RGB
    assert spec.description.metadata.license == "MIT"
    assert json.loads(written.description.read_text())["input"]["batch"] == "1"


@pytest.mark.usefixtures("elsewhere")
def test_a_package_that_lacks_numbers_is_refused(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coremltools: Any
) -> None:
    monkeypatch.setattr(coremltools.optimize.coreml, "get_weights_metadata", lambda *_, **__: {})
    with pytest.raises(ModelError, match=r"coreml file holds 0 numbers; [\d,]+ to [\d,]+ are the student's"):
        dropkd.export_run(distilled_run, to="coreml", output=tmp_path / "out" / "a.mlpackage", unchecked=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_users_is_never_replaced(distilled_run: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "mine.mlpackage"
    theirs.mkdir()
    (theirs / "work.txt").write_text("mine")
    with pytest.raises(RunError, match="it is no earlier export"):
        dropkd.export_run(distilled_run, to="coreml", output=theirs, unchecked=True)
    assert (theirs / "work.txt").read_text() == "mine"


@pytest.mark.parametrize("bytes_in", [False, True])
def test_on_a_mac_its_answers_are_compared(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coremltools: Any, bytes_in: bool
) -> None:
    """Core ML itself is replaced by the student: its answers are asked for, image by image where it takes images."""
    asked: list[Any] = []
    prepared: Prepared = prepare_student(distilled_run, preprocessing=bytes_in)

    class Predicting(coremltools.models.MLModel):
        def __init__(self, path: str, **_: Any) -> None:
            super().__init__(path, skip_model_load=True)

        def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
            given = inputs["images"]
            asked.append(given)
            tensor = (
                torch.from_numpy(given) if not bytes_in else torch.from_numpy(np.array(given)).permute(2, 0, 1)[None]
            )
            with torch.no_grad():
                return {"logits": prepared.module(tensor).numpy()}

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", Predicting)
    assert FORMATS["coreml"].say_why_not_run() is None
    written = dropkd.export_run(distilled_run, to="coreml", output=tmp_path, preprocessing=bytes_in)
    assert written.unchecked is None
    assert written.parity is not None
    assert written.parity.images == 24
    assert len(asked) == (24 if bytes_in else 7)


def test_without_coremltools_the_extra_is_named(distilled_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ConfigError, match=r"pip install 'dropkd\[coreml\]'"):
        dropkd.export_run(distilled_run, to="coreml", unchecked=True)
