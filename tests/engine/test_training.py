"""The loop on real images: what it writes, that it repeats, and that stopping it changes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from stopped_runs import StopAt, assert_same, checkpoint_of

from dropkd import api
from dropkd.config import Config
from dropkd.engine.checkpoint import load_checkpoint
from dropkd.engine.journal import read_journal
from dropkd.engine.signals import Interrupted
from dropkd.errors import RunError, TrainingError

FILES = {
    "best.ckpt", "config.yaml", "environment.json", "last.ckpt", "metrics.json", "metrics.jsonl",
    "predictions.parquet", "report.html", "student.safetensors",
}  # fmt: skip


def test_a_run_writes_these_files_and_no_others(configure: Callable[..., Config]) -> None:
    run = api.run(configure())
    assert {path.name for path in run.folder.iterdir()} == FILES
    metrics = run.metrics
    assert metrics["status"] == "finished"
    assert set(metrics["splits"]) == {"val", "test"}
    assert metrics["splits"]["test"]["images"] == 24
    assert metrics["method_parameters"] > 0
    assert len(run.history) == 3


def test_two_runs_of_one_seed_are_equal_bit_for_bit(configure: Callable[..., Config]) -> None:
    one = api.run(configure(output="one"))
    other = api.run(configure(output="other"))
    assert_same(checkpoint_of(one.folder), checkpoint_of(other.folder))
    assert (one.folder / "student.safetensors").read_bytes() == (other.folder / "student.safetensors").read_bytes()


@pytest.mark.parametrize(("step", "number"), [(2, signal.SIGTERM), (4, signal.SIGINT), (5, signal.SIGTERM)])
def test_a_run_stopped_and_resumed_ends_like_one_that_was_not(
    configure: Callable[..., Config], step: int, number: int
) -> None:
    settings: dict[str, Any] = {
        "training__ema_decay": 0.9,
        "training__mixup": 0.2,
        "training__gradient_clip": 1.0,
        "training__accumulate": 2 if step == 2 else 1,
        "student__options": {},
    }
    whole = api.run(configure(output="whole", **settings))
    with pytest.raises(Interrupted, match="dropkd resume") as stopped:
        api.run(configure(output="halved", **settings), observer=StopAt(step, number))
    assert stopped.value.signal_number == number
    folder = whole.folder.parent / "halved"
    assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted"
    assert (folder / "student.safetensors").is_file()
    resumed = api.resume(folder)
    assert_same(checkpoint_of(whole.folder), checkpoint_of(resumed.folder))
    assert (whole.folder / "student.safetensors").read_bytes() == (folder / "student.safetensors").read_bytes()
    assert resumed.metrics["splits"] == whole.metrics["splits"]
    kinds = [(r["event"], r.get("step")) for r in read_journal(folder / "metrics.jsonl")]
    assert kinds == [(r["event"], r.get("step")) for r in read_journal(whole.folder / "metrics.jsonl")]


def test_resuming_a_finished_run_changes_nothing(configure: Callable[..., Config]) -> None:
    run = api.run(configure(method="plain", training__epochs=1))
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    api.resume(run.folder)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_a_baseline_is_the_plain_run_of_the_same_seed(configure: Callable[..., Config]) -> None:
    run = api.run(configure(method="kd", baseline=True, training__epochs=2))
    plain = api.run(configure(method="plain", output="plain", training__epochs=2))
    baseline = run.folder / "baseline"
    assert run.metrics["baseline"] == "baseline"
    assert (baseline / "student.safetensors").read_bytes() == (plain.folder / "student.safetensors").read_bytes()
    without = api.run(configure(method="kd", output="without", training__epochs=2))
    assert (run.folder / "student.safetensors").read_bytes() == (without.folder / "student.safetensors").read_bytes()


def test_a_stop_in_the_baseline_is_resumed_there(configure: Callable[..., Config]) -> None:
    config = configure(method="kd", baseline=True, training__epochs=1)
    with pytest.raises(Interrupted):
        api.run(config, observer=StopAt(1, signal.SIGTERM))
    assert config.output is not None
    assert (config.output / "baseline" / "last.ckpt").is_file()
    run = api.resume(config.output)
    assert run.is_finished
    assert (run.folder / "baseline" / "metrics.json").is_file()


def test_the_student_loads_by_the_plain_library_call(configure: Callable[..., Config]) -> None:
    run = api.run(configure(method="kd", student__name="resnet10t", student__pretrained=False, training__epochs=1))
    model = timm.create_model("resnet10t", num_classes=3)
    model.load_state_dict(safetensors.torch.load_file(run.folder / "student.safetensors"), strict=True)
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(model.eval()(images), run.student()(images))


def test_without_a_validation_split_the_last_epoch_is_kept(configure: Callable[..., Config]) -> None:
    run = api.run(configure(method="kd", training__epochs=2, data__validation_fraction=0))
    assert run.metrics["train_images"] == 72
    assert run.metrics["selected"] == {"epoch": 1, "by": "last epoch"}
    assert set(run.metrics["splits"]) == {"test"}
    scores = run.metrics["splits"]["test"]
    for key, value in run.metrics["last_epoch"]["test"].items():
        assert scores[key] == (None if value is None else pytest.approx(value, rel=1e-5))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(configure: Callable[..., Config]) -> None:
    config = configure(method="kd", training__optimizer="sgd", training__lr=1e30, training__epochs=2)
    with pytest.raises(TrainingError, match=r"The term '\w+' was not finite .* at step \d+"):
        api.run(config)
    assert config.output is not None
    state = load_checkpoint(config.output / "last.ckpt")["distiller"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_a_run_is_not_resumed_on_other_images(configure: Callable[..., Config], clothes: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for path in clothes.rglob("*.png"):
        copy = images / path.relative_to(clothes)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    config = configure(method="kd", data__path=str(images))
    with pytest.raises(Interrupted):
        api.run(config, observer=StopAt(2, signal.SIGTERM))
    assert config.output is not None
    next((images / "train" / "sandal").iterdir()).unlink()
    with pytest.raises(RunError, match="no longer those that"):
        api.resume(config.output)


def test_an_existing_run_is_replaced_only_when_asked(configure: Callable[..., Config], tmp_path: Path) -> None:
    config = configure(method="plain", training__epochs=1)
    first = (api.run(config).folder / "student.safetensors").read_bytes()
    with pytest.raises(RunError, match="--overwrite"):
        api.run(config)
    other = configure(method="plain", training__epochs=1, seed=1)
    assert (api.run(other, overwrite=True).folder / "student.safetensors").read_bytes() != first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(RunError, match="no run folder"):
        api.run(configure(output="mine"), overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"


def test_options_of_the_engine_train(configure: Callable[..., Config]) -> None:
    run = api.run(
        configure(
            training__epochs=1, training__precision="bf16", training__cutmix=1.0, training__mixup=0.5,
            training__label_smoothing=0.1, training__schedule="step", training__milestones=[1],
            training__optimizer="sgd", training__channels_last=False, loggers=["tensorboard"],
        )
    )  # fmt: skip
    assert run.is_finished
    assert any((run.folder / "tensorboard").iterdir())
