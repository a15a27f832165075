"""Each format that runs here answers as the student does, says what it is, and holds nothing but the student."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

import dropkd
from dropkd.export import FORMATS, export_formats
from dropkd.export.formats import Answering
from dropkd.export.preparing import prepare_student

EVERY = ("onnx", "pt2", "openvino", "torchscript")


def read_onnx(path: Path) -> tuple[int, list[str], dict[str, str]]:
    """Numbers that it holds, names of its weights, and its metadata."""
    model = onnx.load(str(path))
    weights = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    return (
        sum(array.size for array in weights.values() if array.dtype == np.float32),
        list(weights),
        {entry.key: entry.value for entry in model.metadata_props},
    )


def read_pt2(path: Path) -> tuple[int, list[str], dict[str, str]]:
    extra = {"dropkd.json": ""}
    with path.open("rb") as file:
        program = torch.export.load(file, extra_files=extra)
    return (
        sum(v.numel() for v in program.state_dict.values()),
        list(program.state_dict),
        json.loads(extra["dropkd.json"]),
    )


def read_openvino(path: Path) -> tuple[int, list[str], dict[str, str]]:
    model = openvino.Core().read_model(path)
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    floats = [op for op in constants if op.get_element_type() == openvino.Type.f32]
    facts = {key: model.get_rt_info(["dropkd", key]).value for key in model.get_rt_info(["dropkd"]).value}
    return sum(op.data.size for op in floats), [op.get_friendly_name() for op in constants], facts


def read_torchscript(path: Path) -> tuple[int, list[str], dict[str, str]]:
    extra = dict.fromkeys(("classes", "input", "licence", "method", "metrics", "made_with", "model", "teacher"), "")
    with pytest.warns(FutureWarning, match="deprecated"):
        module = torch.jit.load(str(path), _extra_files=extra)
    graph = module.inlined_graph
    constants = [node.output().toIValue() for node in graph.findAllNodes("prim::Constant")]
    tensors = [value for value in constants if isinstance(value, torch.Tensor) and value.is_floating_point()]
    facts = {key: value.decode() if isinstance(value, bytes) else value for key, value in extra.items()}
    return sum(tensor.numel() for tensor in tensors), [str(graph)], facts


READ = {"onnx": read_onnx, "pt2": read_pt2, "openvino": read_openvino, "torchscript": read_torchscript}


@pytest.fixture(scope="module")
def exported(distilled_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dropkd.export.Export]:
    folder = tmp_path_factory.mktemp("formats") / "here"
    written = export_formats(distilled_run, EVERY, output=folder, licence="CC-BY-4.0")
    return {one.format: one for one in written}


@pytest.mark.parametrize("name", EVERY)
def test_it_is_compared_with_the_network_on_real_images(
    exported: dict[str, dropkd.export.Export], distilled_run: Path, name: str
) -> None:
    parity = exported[name].parity
    assert parity is not None
    assert parity.images == 24
    assert parity.agreement == 1.0
    assert parity.max_difference < 1e-4
    prepared = prepare_student(distilled_run)
    # More than one class is answered, else an agreement would say nothing.
    assert len(prepared.expected.argmax(1).unique()) > 1
    answer: Answering = FORMATS[name].open(exported[name].path)
    for images in (1, 5, 24):
        torch.testing.assert_close(answer(prepared.inputs[:images]), prepared.expected[:images], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_its_metadata_say_what_it_is(exported: dict[str, dropkd.export.Export], distilled_run: Path, name: str) -> None:
    run = dropkd.Run.open(distilled_run)
    described = json.loads(exported[name].description.read_text())
    *_, inside = READ[name](exported[name].path)
    assert json.loads(inside["classes"]) == described["classes"] == ["ankle_boot", "sandal", "trouser"]
    assert inside["licence"] == described["licence"] == "CC-BY-4.0"
    assert inside["method"] == described["method"] == "reviewkd"
    assert inside["teacher"] == described["teacher"]
    assert inside["made_with"] == described["made_with"] == f"dropkd {dropkd.__version__}"
    metrics = json.loads(inside["metrics"])
    assert metrics["test"]["accuracy"] == run.metrics["splits"]["test"]["accuracy"]
    assert metrics["val"]["images"] == run.metrics["splits"]["val"]["images"]
    assert json.loads(inside["input"]) == described["input"]
    assert described["format"] == name
    assert described["parity"]["split"] == "test"


@pytest.mark.parametrize("name", EVERY)
def test_nothing_but_the_student_is_in_it(
    exported: dict[str, dropkd.export.Export], distilled_run: Path, name: str
) -> None:
    run = dropkd.Run.open(distilled_run)
    student = run.student()
    numbers, names, _ = READ[name](exported[name].path)
    # ReviewKD trains more than this student has; of that nothing is left.
    assert run.metrics["method_parameters"] > sum(p.numel() for p in student.parameters())
    assert numbers <= sum(v.numel() for v in student.state_dict().values()) + 100
    assert not any("method" in entry or "projector" in entry for entry in names)


def test_several_formats_are_all_written_or_none(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FORMATS["pt2"]
    rightly = kind.open
    monkeypatch.setattr(kind, "open", lambda path: lambda inputs: rightly(path)(inputs) + 1)
    with pytest.raises(dropkd.DropKDError, match="pt2 file does not answer"):
        export_formats(distilled_run, ["torchscript", "pt2"], output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_fails_leaves_an_earlier_one_as_it_was(
    distilled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = dropkd.export_run(distilled_run, to="pt2", output=tmp_path / "student.pt2")
    before = {path: path.read_bytes() for path in written.files}
    kind = FORMATS["pt2"]
    rightly = kind.open
    monkeypatch.setattr(kind, "open", lambda path: lambda inputs: rightly(path)(inputs) * torch.nan)
    with pytest.raises(dropkd.DropKDError, match="nan"):
        dropkd.export_run(distilled_run, to="pt2", output=tmp_path / "student.pt2", preprocessing=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_openvino_takes_bytes_where_the_preprocessing_is_inside(distilled_run: Path, tmp_path: Path) -> None:
    written = dropkd.export_run(distilled_run, to="openvino", output=tmp_path, preprocessing=True)
    model = openvino.Core().read_model(written.path)
    assert model.inputs[0].get_element_type() == openvino.Type.u8
    assert str(model.inputs[0].get_partial_shape()) == "[?,3,28,28]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.bin", "student.xml", "student.xml.json"]
