"""Exported files answer as the student does, on real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import nn

import dropkd
from dropkd.cli import run_command_line
from dropkd.errors import ConfigError, ModelError, RunError
from dropkd.export import formats, fuse_blocks
from dropkd.export.parity import check_parity


def frames_of(run: dropkd.Run, images: int = 5) -> torch.Tensor:
    """Bytes (N, 3, H, W) of real images, as the student sees them."""
    data = dropkd.data.open_data(run.config.data.path)
    loader = dropkd.data.EvalLoader(data.train.sample(images), size=run.network().spec.image_size, batch_size=images)
    return next(iter(loader)).images.contiguous()


def test_a_run_becomes_an_onnx_file_with_fused_blocks_that_answers_as_the_student(
    branched_run: Path, tmp_path: Path
) -> None:
    run = dropkd.Run.open(branched_run)
    written = dropkd.export_run(run, output=tmp_path / "student.onnx")
    pixels, network = frames_of(run), run.network()
    session = onnxruntime.InferenceSession(str(written.path), providers=["CPUExecutionProvider"])
    described = json.loads(written.description.read_text())
    mean, std = (np.array(described["input"][key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    (logits,) = session.run(["logits"], {"images": (pixels.numpy().astype(np.float32) / 255 - mean) / std})
    with torch.no_grad():
        expected = network(pixels, maps=False).logits
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)
    trained = sum(parameter.numel() for parameter in network.model.parameters())
    assert written.fused > 0
    assert written.parameters == trained - written.fused
    assert tuple(described["classes"]) == run.classes
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["classes"]) == list(run.classes)
    assert json.loads(stored["input"]) == described["input"]


@pytest.mark.slow
def test_repvit_leaves_with_its_branches_fused(clothes: Path, tmp_path: Path) -> None:
    run = dropkd.train(
        clothes, model="repvit_m0_9", epochs=1, batch_size=16, image_size=32, pretrained=False, output=tmp_path / "run"
    )
    written = dropkd.export_run(run)
    assert written.fused > 30_000
    assert written.parity.agreement == 1.0


def test_without_fusing_all_branches_are_exported(branched_run: Path, tmp_path: Path) -> None:
    written = dropkd.export_run(branched_run, to="pt2", output=tmp_path / "student.pt2", fuse=False)
    assert written.fused == 0
    assert written.parity.agreement == 1.0


def test_a_pytorch_program_takes_bytes_where_the_preprocessing_is_inside(branched_run: Path, tmp_path: Path) -> None:
    run = dropkd.Run.open(branched_run)
    written = dropkd.export_run(run, to="pt2", output=tmp_path / "student.pt2", preprocessing=True)
    program = torch.export.load(str(written.path)).module()
    pixels = frames_of(run, 3)
    with torch.no_grad():
        torch.testing.assert_close(program(pixels), run.network()(pixels, maps=False).logits, atol=1e-3, rtol=0)
    assert json.loads(written.description.read_text())["input"]["dtype"] == "uint8"


def test_fused_blocks_leave_the_trained_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = timm.create_model("repghostnet_050", num_classes=5)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        # So that the normalisations are not the identity that they are at the start.
        for _ in range(3):
            model(images)
    model.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = fuse_blocks(model, images)
    with torch.no_grad():
        torch.testing.assert_close(fused(images), model(images), atol=1e-4, rtol=1e-3)
    assert sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in model.parameters())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_a_file_that_answers_otherwise_is_refused_and_nothing_is_left(
    branched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = formats.FORMATS["pt2"]
    open_rightly = kind.open

    def open_wrongly(path: Path) -> formats.Answering:
        answer = open_rightly(path)
        return lambda inputs: answer(inputs).flip(1)

    monkeypatch.setattr(kind, "open", open_wrongly)
    with pytest.raises(ModelError, match=r"does not answer as the network does: over \d+ images"):
        dropkd.export_run(branched_run, to="pt2", output=tmp_path / "student.pt2")
    assert list(tmp_path.iterdir()) == []


def test_parity_finds_a_batch_size_that_is_frozen_in() -> None:
    logits = torch.rand(6, 3)
    rows = iter(logits)
    with pytest.raises(ModelError, match="shape"):
        check_parity(logits, lambda inputs: next(rows)[None], torch.rand(6, 1))


def test_parity_is_not_fooled_by_numbers_that_are_none() -> None:
    logits = torch.rand(3, 2)
    with pytest.raises(ModelError, match="differ by up to nan"):
        check_parity(logits, lambda inputs: torch.full((len(inputs), 2), torch.nan), torch.rand(3, 1))


class Unfusable(nn.Module):
    """Says that it can be fused, but then answers otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0.0

    def reparameterize(self) -> None:
        self.shift = 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) + self.shift


def test_blocks_that_change_the_answer_by_being_fused_are_refused() -> None:
    with pytest.raises(ModelError, match="--no-fuse"):
        fuse_blocks(nn.Sequential(Unfusable()), torch.rand(2, 3, 4, 4))


def test_the_command_says_what_it_wrote(branched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.pt2"
    assert run_command_line(["export", str(branched_run), "--to", "pt2", "--output", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert str(path) in shown.replace(" ", "") or path.name in shown
    assert "fused away" in shown
    assert "Same class as the network on" in shown


def test_bad_input_is_refused_in_words(branched_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown format 'onx'.*Did you mean 'onnx'"):
        dropkd.export_run(branched_run, to="onx")
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        dropkd.export_run(branched_run, output=tmp_path / "student.pt2")
    with pytest.raises(RunError, match="no run folder"):
        dropkd.export_run(tmp_path)


def test_a_missing_library_is_named_with_the_extra_that_has_it(
    branched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"'onnxscript', which is not installed: pip install 'dropkd\[export\]'"):
        dropkd.export_run(branched_run, output=tmp_path / "student.onnx")


@pytest.mark.parametrize("preprocessing", [False, True])
def test_an_exported_file_is_a_teacher_that_knows_how_it_is_fed(
    clothes: Path, tmp_path: Path, preprocessing: bool
) -> None:
    # A model of another normalisation than ImageNet's, and of a frame of which it sees the centre.
    run = dropkd.train(
        clothes, model="tf_mobilenetv3_small_minimal_100", epochs=1, batch_size=16, image_size=32, pretrained=False,
        output=tmp_path / "run", settings={"data.augmentation": "resized-crop"},
    )  # fmt: skip
    network = run.network()
    written = dropkd.export_run(run, output=tmp_path / "student.onnx", preprocessing=preprocessing)
    teacher = dropkd.models.open_teacher(written.path, image_size=32)
    pixels = frames_of(run, 6)
    with torch.no_grad():
        expected = network(pixels, maps=False).logits
        found = teacher(pixels, maps=False).logits
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert teacher.spec.classes == run.classes
    assert teacher.spec.crop_fraction == pytest.approx(network.spec.crop_fraction, abs=0.02)
    assert tuple(network.spec.mean) == (0.5, 0.5, 0.5)
