"""An int8 file answers nearly as the student does, and says what it costs, on real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, DataError, ModelError

STUDENT = ["--model", "cifar_resnet8", "--no-pretrained", "--workers", "0", "--batch-size", "16"]


@pytest.fixture(scope="module")
def trained(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student knows its three classes. Read only."""
    run = tmp_path_factory.mktemp("int8") / "run"
    size = ["--image-size", "28", "--epochs", "12", "--set", "data.validation_fraction=0.25"]
    assert run_command_line(["train", str(clothes), *STUDENT, *size, "--output", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def written(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dropkd.export.Int8Export:
    return dropkd.export_int8(trained, output=tmp_path_factory.mktemp("files") / "student.onnx")


@pytest.fixture(scope="module")
def fog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one image all of the mean colour: by it, all that the student will see is out of range."""
    folder = tmp_path_factory.mktemp("fog")
    (folder / "deep").mkdir()
    Image.new("RGB", (28, 28), (124, 116, 104)).save(folder / "deep" / "it's grey, 'really'.png")
    return folder


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


def range_of_input(path: Path) -> tuple[float, float]:
    """Return the ends of the range that the images are rounded within."""
    (node,) = (node for node in onnx.load(path).graph.node if node.input and node.input[0] == "images")
    assert node.op_type == "QuantizeLinear"
    scale, zero = (initializers(path)[name] for name in node.input[1:])
    assert zero.dtype == np.uint8
    return float(scale) * (0 - int(zero)), float(scale) * (255 - int(zero))


def seen_by(run: Path, split: str) -> np.ndarray:
    """Return normalised images as the network is evaluated on them, worked out from the files."""
    opened = dropkd.Run.open(run)
    spec, part = opened.network().spec, {s.name: s for s in opened.open_data().splits}[split]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) / 255 for path in part.paths])
    return (pixels - np.float32(spec.mean)) / np.float32(spec.std)


def test_an_int8_file_answers_nearly_as_the_student_and_is_smaller(written: dropkd.export.Int8Export) -> None:
    loss = written.loss
    assert loss.split == "val"
    assert loss.before > 0.8
    assert loss.after >= loss.before - 0.06
    assert loss.same > 0.9
    assert loss.paired.difference == pytest.approx(loss.after - loss.before)
    assert written.path.stat().st_size < 0.4 * written.float_bytes
    session = onnxruntime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        assert session.run(None, {"images": np.zeros((batch, 3, 28, 28), np.float32)})[0].shape == (batch, 3)
    assert set(written.latency) == {"float", "int8"}
    assert all(0 < taken.p50 <= taken.p95 for taken in written.latency.values())


def test_the_accuracies_are_those_that_one_counts_by_hand(written: dropkd.export.Int8Export, trained: Path) -> None:
    images, data = seen_by(trained, "val").transpose(0, 3, 1, 2), dropkd.Run.open(trained).open_data()
    session = onnxruntime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.ascontiguousarray(images)})
    assert data.val is not None
    assert written.loss.images == len(data.val)
    assert written.loss.after == pytest.approx(float((logits.argmax(1) == data.val.targets).mean()))
    assert written.loss.before == pytest.approx(dropkd.evaluate(trained, split="val")["val"]["accuracy"])


def test_weights_are_whole_numbers_with_a_scale_for_each_channel(written: dropkd.export.Int8Export) -> None:
    held = initializers(written.path)
    weight, scale = held["model.conv1.weight_quantized"], held["model.conv1.weight_scale"]
    assert weight.dtype == np.int8
    assert scale.shape == (weight.shape[0],)
    assert np.abs(weight.reshape(len(weight), -1)).max(axis=1).tolist() == [127] * len(weight)
    assert not held["model.conv1.weight_zero_point"].any()


def test_logits_are_not_rounded(written: dropkd.export.Int8Export) -> None:
    (last,) = (node for node in onnx.load(written.path).graph.node if "logits" in node.output)
    assert last.op_type == "Gemm"


def test_ranges_are_those_of_the_training_images_as_they_are_evaluated(
    written: dropkd.export.Int8Export, trained: Path
) -> None:
    images = seen_by(trained, "train")
    assert range_of_input(written.path) == pytest.approx((images.min(), images.max()), abs=0.03)


def test_ranges_come_from_a_folder_of_ones_own_images(trained: Path, fog: Path, tmp_path: Path) -> None:
    settings = dropkd.Int8(folder=fog)
    made = dropkd.export_int8(trained, settings, output=tmp_path / "student.onnx")
    assert range_of_input(made.path) == pytest.approx((0, 0), abs=0.2)
    assert "by 1 images of calibration" in made.ranges


def test_too_great_a_loss_fails_names_layers_and_leaves_nothing(
    trained: Path, fog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "student.onnx"
    command = ["export", str(trained), "--int8", "--calibration", str(fog), "-o", str(target), "--max-drop", "0.5"]
    assert run_command_line(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "points of accuracy on val (" in said
    assert "--max-drop allows 0.5. Nothing was written." in said
    assert "Rounding these layers changes the answers most: " in said
    assert "--qat --student" in said
    assert list(tmp_path.iterdir()) == []


def test_the_same_loss_is_told_where_no_limit_is_set(
    trained: Path, fog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "student.onnx"
    assert run_command_line(["export", str(trained), "--int8", "--calibration", str(fog), "-o", str(target)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "That is more than chance." in said
    assert "with 1 thread" in said
    assert target.is_file()


def test_what_it_costs_is_written_beside_the_file_and_in_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "student.onnx"
    flags = ["--calibration-images", "9", "--calibration-method", "percentile", "--max-drop", "50", "--threads", "1"]
    assert run_command_line(["export", str(trained), "--int8", "-o", str(target), *flags]) == 0
    assert "ranges by 9 images of train (percentile)" in " ".join(capsys.readouterr().out.split())
    described = json.loads((tmp_path / "student.onnx.json").read_text())
    assert described["int8"]["calibration"] == {"split": "train", "images": 9, "method": "percentile"}
    assert described["int8"]["loss"]["split"] == "val"
    assert described["int8"]["threads"] == 1
    assert described["classes"] == list(dropkd.Run.open(trained).classes)
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["int8"]) == described["int8"]
    assert stored["made_with"] == described["made_with"]


def test_layers_that_are_named_stay_as_they_are(trained: Path, tmp_path: Path) -> None:
    settings = dropkd.Int8(keep_float=("conv1", "layer2.*.conv1"))
    made = dropkd.export_int8(trained, settings, output=tmp_path / "student.onnx")
    held = initializers(made.path)
    assert made.kept == ("conv1", "layer2.0.conv1")
    assert held["model.conv1.weight"].dtype == np.float32
    assert held["model.layer1.0.conv1.weight_quantized"].dtype == np.int8


def test_weights_of_four_bits_have_fifteen_levels(trained: Path, tmp_path: Path) -> None:
    made = dropkd.export_int8(trained, dropkd.Int8(weight_bits=4), output=tmp_path / "student.onnx")
    weights = {name: w for name, w in initializers(made.path).items() if name.endswith("weight_quantized")}
    assert len(weights) == made.layers
    assert all(w.min() >= -7 and w.max() <= 7 for w in weights.values())
    assert set(np.unique(np.concatenate([w.ravel() for w in weights.values()]))) == set(range(-7, 8))


def test_the_preprocessing_can_be_inside(trained: Path, tmp_path: Path) -> None:
    made = dropkd.export_int8(trained, output=tmp_path / "student.onnx", preprocessing=True)
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert made.loss.after >= made.loss.before - 0.06


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-drop", "1"], "--max-drop can only be given with --int8"),
        (["--int8", "--to", "pt2"], "--int8 writes ONNX alone"),
        (["--int8", "--keep-float", "layer9"], "'layer9' names no layer. Did you mean"),
        (["--int8", "--max-drop", "-1"], "--max-drop is in percentage points, 0 to 100"),
        (["--int8", "--calibration-method", "minmx"], "Did you mean 'minmax'?"),
        (["--int8", "--calibration-images", "0"], "--calibration-images must be 1 or more"),
        (["--int8", "--weight-bits", "3"], "--weight-bits must be 4 to 8"),
        (["--int8", "--threads", "0"], "--threads must be 1 or more"),
        (["--int8", "--output", "x.pt2"], "An int8 file ends in .onnx"),
    ],
)
def test_wrong_flags_are_told_before_anything_is_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flags: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    default = [] if "--output" in flags else ["--output", "x.onnx"]
    assert run_command_line(["export", str(trained), *flags, *default]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_folder_that_is_not_there_or_empty_is_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        dropkd.export_int8(trained, dropkd.Int8(folder=tmp_path / "none"), output=tmp_path / "x.onnx")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="there is no image in it, however deep"):
        dropkd.export_int8(trained, dropkd.Int8(folder=tmp_path / "empty"), output=tmp_path / "x.onnx")
    (tmp_path / "empty" / "broken.png").write_bytes(b"no image either")
    with pytest.raises(DataError, match=r"broken\.png"):
        dropkd.export_int8(trained, dropkd.Int8(folder=tmp_path / "empty"), output=tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_images_with_several_labels_are_judged_by_all_of_them(outfits: Path, tmp_path: Path) -> None:
    run = dropkd.train(
        outfits, model="cifar_resnet8", epochs=1, batch_size=16, image_size=(28, 56), output=tmp_path / "run"
    )
    made = dropkd.export_int8(run)
    assert made.path == tmp_path / "run" / "student.int8.onnx"
    assert made.loss.figure == "exact_match"
    assert made.loss.before == pytest.approx(dropkd.evaluate(run, split="val")["val"]["exact_match"])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 100, got nan"):
        dropkd.Int8(max_drop=float("nan"))


def test_a_student_without_layers_to_round_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no layer to round"):
        dropkd.export_int8(trained, dropkd.Int8(keep_float=("*",)), output=tmp_path / "x.onnx")
