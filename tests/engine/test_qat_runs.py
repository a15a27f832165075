"""Runs whose student learns to be rounded, and the int8 files that come of them, on real images."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from stopped_runs import StopAt, assert_alike
from torch.nn.modules.batchnorm import _BatchNorm

import dropkd
from dropkd.cli import run_command_line
from dropkd.cli.tables import print_outcome
from dropkd.config import Config, QatConfig, load_config
from dropkd.engine.observer import Observer
from dropkd.engine.qat import prepare_qat
from dropkd.engine.running import make_training, resume_run, start_run
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError, ModelError
from dropkd.export.onnx_answers import open_file
from dropkd.export.preparing import prepare_student
from dropkd.export.quantizing_answers import open_network
from dropkd.models import build_network
from dropkd.models.rounding import Roundings

QAT = {"qat__enabled": True}


@pytest.fixture(scope="module")
def trained(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose student knows its three classes. Read only."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    dropkd.train(
        clothes, model="cifar_resnet8", epochs=8, batch_size=16, image_size=28, pretrained=False, output=folder,
        settings={"data.validation_fraction": 0.25},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def refined(trained: Path, clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same student after two rounded epochs with itself as the teacher. Read only."""
    folder = tmp_path_factory.mktemp("refined") / "run"
    command = [
        *("distill", str(clothes), "--student", str(trained), "--teacher", str(trained), "--method", "kd", "--qat"),
        *("--epochs", "2", "--batch-size", "16", "--workers", "0", "--output", str(folder)),
        *("--set", "data.validation_fraction=0.25"),
    ]
    assert run_command_line(command) == 0
    return folder


def test_the_command_says_what_is_rounded_and_how_good_it_was_before(
    refined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_outcome(dropkd.Run.open(refined))
    said = " ".join(capsys.readouterr().out.split())
    before = dropkd.Run.open(refined).metrics["qat"]["float"]["test"]["accuracy"]
    assert "student, before it was rounded" in said
    assert f"{100 * before:.2f} %" in said


def test_layers_that_are_left_out_in_training_are_named() -> None:
    heard: list[str] = []

    class Listening(Observer):
        def on_message(self, text: str) -> None:
            heard.append(text)

        def on_warning(self, text: str) -> None:
            heard.append(text)

    torch.manual_seed(0)
    network = build_network("torchvision/vit_b_16", num_classes=3, image_size=(32, 32))
    prepare_qat(QatConfig(enabled=True, start_epoch=2), 5, network, Listening())
    assert "is rounded from epoch 3 of 5 on: " in heard[0]
    assert "encoder.layers.encoder_layer_0.self_attention.out_proj" in heard[1]


def test_a_run_from_a_trained_student_is_rounded_from_its_first_step(refined: Path, trained: Path) -> None:
    run = dropkd.Run.open(refined)
    qat, config = run.metrics["qat"], run.config
    assert (qat["start_epoch"], qat["weight_bits"], qat["layers"]) == (0, 8, 10)
    assert config.student.name == "cifar_resnet8"
    assert config.student.checkpoint == trained / "student.safetensors"
    assert config.data.image_size == (28, 28)
    before, start = load_file(refined / "float.safetensors"), load_file(trained / "student.safetensors")
    assert all(torch.equal(value, start[key]) for key, value in before.items())
    expected = dropkd.evaluate(trained, split="test")["test"]
    assert qat["float"]["test"]["accuracy"] == expected["accuracy"]


def test_the_student_that_is_opened_is_the_rounded_one_that_was_judged(refined: Path) -> None:
    network = dropkd.Run.open(refined).network()
    assert isinstance(network.roundings, Roundings)
    assert network.roundings.is_on
    found, kept = dropkd.evaluate(refined, split="test")["test"], dropkd.Run.open(refined).metrics["splits"]["test"]
    assert found["accuracy"] == kept["accuracy"]
    assert found["loss"] == pytest.approx(kept["loss"], abs=1e-6)


def test_batch_norms_keep_their_statistics_and_weights_learn(refined: Path, trained: Path) -> None:
    before, after = load_file(trained / "student.safetensors"), load_file(refined / "student.safetensors")
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]) == ("running" in key or "num_batches" in key), key


def test_the_int8_file_answers_as_the_student_that_learned_to_be_rounded(refined: Path, tmp_path: Path) -> None:
    made = dropkd.export_int8(refined, output=tmp_path / "student.onnx")
    assert made.learned is not None
    assert made.learned.after == pytest.approx(made.learned.before, abs=0.02)
    assert made.learned.same > 0.97
    run = dropkd.Run.open(refined)
    network, plain = run.network(), dropkd.Run.open(refined).network()
    plain.roundings.switch(plain.model, is_on=False)
    prepared = prepare_student(run)
    inputs = prepared.inputs.numpy()
    file, learned, exact = (
        answer(inputs)
        for answer in (
            open_file(made.path.read_bytes(), 1), open_network(network, prepared.module),
            open_network(plain, prepared.module),
        )
    )  # fmt: skip
    noise = float(np.square(learned - exact).mean())
    # Rounding moves the logits; the file follows the student in that, but for a sum at the border of two levels.
    assert float(np.square(file - learned).mean()) < 0.2 * noise
    described = json.loads((tmp_path / "student.onnx.json").read_text())["int8"]
    assert described["learned"] is True
    assert described["rounded_network"]["after"] == described["loss"]["after"]


def test_what_comes_before_is_the_student_that_was_not_yet_rounded(
    refined: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "student.onnx"
    assert run_command_line(["export", str(refined), "--int8", "-o", str(target)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "float, before --qat" in said
    assert "student, rounded" in said
    assert "It answers as the student that learned to be rounded on" in said
    loss = json.loads((tmp_path / "student.onnx.json").read_text())["int8"]["loss"]
    assert loss["before"] == dropkd.evaluate(trained, split="val")["val"]["accuracy"]


def test_its_float_file_holds_nothing_of_the_rounding(refined: Path, tmp_path: Path) -> None:
    written = dropkd.export_run(refined, output=tmp_path / "student.onnx")
    assert written.parity.agreement == 1.0
    kinds = {node.op_type for node in onnx.load(written.path).graph.node}
    assert not {kind for kind in kinds if "Quantize" in kind}
    assert written.parameters == dropkd.Run.open(refined).metrics["student"]["parameters"]


@pytest.mark.parametrize("changes", [{}, {"training__ema_decay": 0.9}], ids=["plain", "average"])
def test_a_stopped_run_ends_like_one_that_was_not(configure: Callable[..., Config], changes: dict[str, Any]) -> None:
    settings = {**QAT, "qat__start_epoch": 1, "method": "kd", **changes}
    whole = start_run(configure(output="whole", **settings), Observer())
    # In the second epoch, whose first step was rounded.
    with pytest.raises(Interrupted):
        start_run(configure(output="stopped", **settings), StopAt(6, signal.SIGTERM))
    assert_alike(whole, resume_run(whole.parent / "stopped", Observer()))
    assert (whole / "float.safetensors").read_bytes() == (whole.parent / "stopped/float.safetensors").read_bytes()


def test_a_run_from_scratch_is_rounded_in_its_last_epochs(configure: Callable[..., Config]) -> None:
    run = dropkd.Run.open(start_run(configure("kd", **QAT), Observer()))
    assert run.metrics["qat"]["start_epoch"] == 2
    assert run.metrics["selected"]["epoch"] == 2
    best = max(run.history[:2], key=lambda epoch: (epoch["val"]["accuracy"], -epoch["val"]["loss"]))
    assert run.metrics["qat"]["float"]["val"]["loss"] == pytest.approx(best["val"]["loss"], rel=1e-4)
    plain = run.float_network()
    assert plain is not None
    assert plain.roundings is None


def test_ends_are_settled_in_the_second_half(configure: Callable[..., Config]) -> None:
    ends: list[tuple[float, ...]] = []
    config = configure("kd", **QAT, qat__start_epoch=0, training__epochs=4)
    job = prepare_job(config, Observer())
    assert config.output is not None
    config.output.mkdir()
    training = make_training(job, config.output, Observer())
    for epoch in range(4):
        training.position.epoch = epoch
        training.start_epoch(epoch)
        assert not any(m.training for m in training.distiller.student.model.modules() if isinstance(m, _BatchNorm))
        for batch in training.train_loader.epoch(epoch):
            training._step(batch)
        ends.append(tuple(float(buffer) for buffer in job.distiller.student.roundings.buffers()))
    assert ends[0] != ends[1]
    assert ends[1] == ends[2] == ends[3]


def test_a_student_given_as_a_run_brings_its_options_and_size(trained: Path, clothes: Path) -> None:
    config = load_config(flags={"data.path": str(clothes), "student.name": str(trained)})
    assert (config.student.name, config.student.pretrained) == ("cifar_resnet8", False)
    assert config.data.image_size == (28, 28)
    other = load_config(flags={"data.path": str(clothes), "student.name": str(trained), "data.image_size": 32})
    assert other.data.image_size == 32


def test_a_folder_that_is_no_run_is_no_student(clothes: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="Unknown model"):
        dropkd.train(clothes, model=str(tmp_path / "folder"), epochs=1, output=tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**QAT, "qat__start_epoch": 3}, "'qat.start_epoch' \\(3\\) leaves none of the 3 epochs"),
        ({**QAT, "training__compile": True}, "can't be compiled"),
        ({"qat__weight_bits": 4}, "are of 'qat.enabled: true'"),
        ({**QAT, "qat__weight_bits": 9}, "qat.weight_bits"),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    configure: Callable[..., Config], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        start_run(configure("kd", **changes), Observer())


def test_a_student_whose_blocks_are_fused_later_is_refused(configure: Callable[..., Config], tmp_path: Path) -> None:
    student = {"student__name": "repghostnet_050", "student__pretrained": False, "data__image_size": 32}
    with pytest.raises(ModelError, match="blocks of several branches, which become one convolution"):
        start_run(configure("kd", **QAT, **student), Observer())
    assert not (tmp_path / "run").exists()


def test_a_student_without_its_float_file_is_compared_with_its_own_weights(refined: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(refined, run)
    (run / "float.safetensors").unlink()
    made = dropkd.export_int8(run, output=tmp_path / "student.onnx")
    assert made.learned is not None
    assert made.loss.after == made.learned.after
