"""What can't be exported is refused in words, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.export import FORMATS, export_formats
from dropkd.export.formats.capturing import capture
from dropkd.export.preparing import prepare_student


def run_export(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = run_command_line(["export", *(str(argument) for argument in arguments)])
    shown = capsys.readouterr()
    return code, " ".join((shown.out + shown.err).split())


@pytest.mark.parametrize(
    ("opset", "said"), [(1, "too old"), (11, "too old: PyTorch's exporter writes 18"), (99, "newer than")]
)
def test_an_opset_out_of_range_is_refused_before_the_run_is_even_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opset: int, said: str
) -> None:
    code, shown = run_export(capsys, tmp_path / "no-such-run", "--opset", opset)
    assert code == 2
    assert f"opset {opset} is {said}" in shown


def test_the_opset_that_is_asked_for_is_the_one_that_is_written(distilled_run: Path, tmp_path: Path) -> None:
    import onnx

    written = dropkd.export_run(distilled_run, output=tmp_path / "student.onnx", opset=18)
    assert [entry.version for entry in onnx.load(str(written.path)).opset_import if entry.domain == ""] == [18]


def test_an_opset_for_a_format_that_has_none_is_refused(distilled_run: Path) -> None:
    with pytest.raises(ConfigError, match="--opset is of ONNX alone; pt2"):
        dropkd.export_run(distilled_run, to="pt2", opset=20)


class Bessel(nn.Module):
    """An operator that ONNX has not."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps + torch.special.bessel_j0(maps.detach())


class Choosing(nn.Module):
    """Python code that depends on the values of the images."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps * 2 if float(maps.detach().sum()) > 0 else maps


def small_model(odd: nn.Module) -> nn.Module:
    stage = nn.Sequential(nn.ReLU(), odd)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), stage, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def train_own(clothes: Path, folder: Path, odd: nn.Module) -> dropkd.Run:
    return dropkd.train(clothes, model=small_model(odd), epochs=1, batch_size=16, workers=0, output=folder)


def test_an_operator_that_onnx_lacks_is_named_with_its_layer(clothes: Path, tmp_path: Path) -> None:
    run = train_own(clothes, tmp_path / "run", Bessel())
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=r"no operator for 'prims.bessel_j0' in the layer '1\.1' \(Bessel\)"):
        dropkd.export_run(run, output=out / "student.onnx", model=small_model(Bessel()))
    assert not out.exists()


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_a_layer_that_can_not_be_captured_is_named(clothes: Path, tmp_path: Path, to: str) -> None:
    run = train_own(clothes, tmp_path / "run", Choosing())
    with pytest.raises(ModelError, match=r"PyTorch can't follow the layer '1\.1' \(Choosing\)"):
        dropkd.export_run(run, to=to, output=tmp_path / f"student.{to}", model=small_model(Choosing()))
    assert not list(tmp_path.glob("student*"))


def test_a_run_that_is_not_finished_is_refused_unless_it_is_asked_for(
    distilled_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(distilled_run, run)
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "status": "interrupted"}))
    code, shown = run_export(capsys, run, "--to", "pt2")
    assert code == 2
    assert f"is not finished. Go on with: dropkd resume {run}" in shown
    assert not list(run.glob("student.pt2*"))
    code, shown = run_export(capsys, run, "--to", "pt2", "--unfinished")
    assert code == 0
    assert (run / "student.pt2").is_file()


def test_a_run_before_its_first_epoch_has_nothing_to_export(distilled_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(distilled_run, run)
    (run / "student.safetensors").unlink()
    (run / "metrics.json").unlink()
    with pytest.raises(RunError, match="holds no student yet"):
        dropkd.export_run(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = run_export(capsys, tmp_path)
    assert code == 2
    assert "is no run folder: it has no config.yaml" in shown


def test_several_formats_need_a_folder(distilled_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 formats are asked for and one file"):
        export_formats(distilled_run, ["onnx", "pt2"], output=tmp_path / "student.onnx")
    with pytest.raises(ConfigError, match="No format was asked for"):
        export_formats(distilled_run, [])


def test_a_file_in_the_way_of_the_folder_is_named(distilled_run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match=r"Can't create the folder .*taken.*: a file stands in the way"):
        dropkd.export_run(distilled_run, to="pt2", output=tmp_path / "taken" / "student.pt2")


def test_images_that_are_gone_are_named(distilled_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(distilled_run, run)
    config = (run / "config.yaml").read_text()
    place = dropkd.Run.open(run).config.data.path
    (run / "config.yaml").write_text(config.replace(str(place), str(tmp_path / "gone")))
    with pytest.raises(dropkd.DropKDError, match="gone"):
        dropkd.export_run(run, to="pt2")


def test_openvino_that_is_not_installed_is_named_with_its_extra(
    distilled_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"openvino needs 'openvino', which is not installed: .*dropkd\[openvino\]"):
        dropkd.export_run(distilled_run, to="openvino")


def test_class_names_of_any_kind_come_through_every_format(clothes: Path, tmp_path: Path) -> None:
    odd = ["<script>alert(1)<br>", "naïve \u202e 猫 \U0001f408", "quote\" ' & = , ;"]
    names = sorted(path.name for path in (clothes / "train").iterdir())
    for split in ("train", "test"):
        for old, new in zip(names, odd, strict=True):
            shutil.copytree(clothes / split / old, tmp_path / "odd" / split / new)
    run = dropkd.train(
        tmp_path / "odd", model="cifar_resnet8", epochs=1, batch_size=16, workers=0, output=tmp_path / "run"
    )
    for one in export_formats(run, ["onnx", "pt2", "openvino", "torchscript"]):
        described = json.loads(one.description.read_text(encoding="utf-8"))
        assert tuple(described["classes"]) == run.classes
        assert set(described["classes"]) == set(odd)


def test_the_help_names_every_format(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, shown = run_export(capsys, "--help")
    assert code == 0
    assert "|".join(FORMATS) in shown


def test_formats_are_listed_with_commas_or_one_by_one(
    distilled_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, shown = run_export(capsys, distilled_run, "--to", "pt2, torchscript", "--to", "pt2", "-o", out)
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "student.pt", "student.pt.json", "student.pt2", "student.pt2.json"
    ]  # fmt: skip
    assert shown.count("Same class as the network") == 2
    assert "PyTorch calls TorchScript deprecated" in shown
    code, shown = run_export(capsys, distilled_run, "--to", "pt2,onxx", "-o", tmp_path / "other")
    assert code == 2
    assert "unknown format 'onxx'" in shown
    assert not (tmp_path / "other").exists()


def test_one_image_to_compare_on_leaves_the_batch_size_free_too(distilled_run: Path) -> None:
    prepared = prepare_student(distilled_run)
    alone = replace(prepared, inputs=prepared.inputs[:1])
    program = capture(alone).module()
    torch.testing.assert_close(program(prepared.inputs), prepared.expected, atol=1e-4, rtol=1e-4)
