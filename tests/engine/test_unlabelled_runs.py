"""Runs with unlabelled images: what they see, that they resume bit for bit, and what they write down."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from stopped_runs import StopAt, assert_same, checkpoint_of

from dropkd import api
from dropkd.config import Config, load_config
from dropkd.data import LoadedBatch, open_data
from dropkd.demo.images import load_demo_split
from dropkd.engine.distiller import Losses
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import Interrupted
from dropkd.engine.tally import Tally
from dropkd.engine.training import Training
from dropkd.errors import ConfigError, DataError, RunError


@pytest.fixture
def pool(tmp_path: Path, clothes: Path) -> Path:
    """Fifty new images, two of the test split and one of the training split."""
    split = load_demo_split("train")
    folder = tmp_path / "pool"
    (folder / "deep").mkdir(parents=True)
    for row in range(5000, 5050):
        Image.fromarray(split.images[row]).save(folder / ("deep" if row % 2 else ".") / f"{row}.png")
    for number, path in enumerate([*sorted(clothes.glob("test/*/*.png"))[:2], open_data(clothes).train.paths[0]]):
        shutil.copy(path, folder / f"copy{number}.png")
    return folder


@pytest.fixture
def mix(configure: Callable[..., Config], pool: Path) -> Callable[..., Config]:
    def make(method: str = "kd", output: str = "run", **changes: Any) -> Config:
        return configure(method, output, **{"data__unlabelled": str(pool), **changes})

    return make


class Listener(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)


def test_a_run_says_and_writes_down_what_it_learns_from(mix: Callable[..., Config], pool: Path) -> None:
    heard = Listener()
    run = api.run(mix(training__epochs=2, data__unlabelled_ratio=0.5), observer=heard)
    record = run.metrics["unlabelled"]
    assert len(record.pop("sha256")) == 64
    assert record == {
        "source": str(pool), "images": 51, "ratio": 0.5, "images_per_step": 8, "images_per_epoch": 32,
        "left_out": {"test": 2}, "also_labelled": 1,
    }  # fmt: skip
    assert "Unlabelled images: left out 2 of 53 unlabelled images that the student is judged by (2 in test)" in (
        heard.messages
    )
    steps = next(text for text in heard.messages if text.startswith("Training: "))
    assert steps.startswith("Training: 16 labelled and 8 unlabelled images a step; an epoch is 4 steps, 64 labelled")
    assert steps.endswith("in 2 epochs each of the 51 unlabelled ones is shown 1.25 times on average.")
    config = load_config(run.folder / "config.yaml")
    assert (config.data.unlabelled, config.data.unlabelled_ratio) == (pool, 0.5)
    assert "51, 8 a step beside the labelled ones; left out: 2 are in test" in (run.folder / "report.html").read_text()
    assert run.metrics["train_images"] == 66


def test_a_run_without_them_has_no_word_of_them(configure: Callable[..., Config]) -> None:
    run = api.run(configure("kd", training__epochs=1))
    assert "unlabelled" not in run.metrics
    assert "unlabelled images" not in (run.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("kd", {"training__mixup": 0.4, "training__cutmix": 1.0, "training__label_smoothing": 0.1}),
        ("mld", {"training__mixup": 0.4}),
        ("dropkd", {"training__accumulate": 2}),
        ("kd+eac", {"training__class_weights": "balanced", "data__sampling": "balanced"}),
    ],
)
def test_a_run_stopped_in_an_epoch_ends_like_one_that_was_not(
    mix: Callable[..., Config], method: str, settings: dict[str, Any]
) -> None:
    settings |= {"data__unlabelled_ratio": 1.3, "training__epochs": 2, "training__batch_size": 12}
    whole = api.run(mix(method, "whole", **settings))
    config = mix(method, "halved", **settings)
    with pytest.raises(Interrupted):
        api.run(config, observer=StopAt(2, signal.SIGTERM))
    assert config.output is not None
    resumed = api.resume(config.output)
    assert_same(checkpoint_of(whole.folder), checkpoint_of(resumed.folder))
    assert resumed.metrics["splits"] == whole.metrics["splits"]
    assert resumed.metrics["unlabelled"] == whole.metrics["unlabelled"]


@pytest.mark.parametrize("change", ["added", "removed", "changed", "gone"])
def test_changed_unlabelled_images_refuse_to_resume(mix: Callable[..., Config], pool: Path, change: str) -> None:
    config = mix(training__epochs=1)
    with pytest.raises(Interrupted):
        api.run(config, observer=StopAt(2, signal.SIGTERM))
    assert config.output is not None
    first = next(iter(sorted(pool.glob("deep/*.png"))))
    if change == "added":
        Image.fromarray(load_demo_split("train").images[0]).save(pool / "new.png")
    elif change == "removed":
        first.unlink()
    elif change == "changed":
        Image.fromarray(load_demo_split("train").images[0]).save(first)
    else:
        shutil.rmtree(pool)
        with pytest.raises(DataError, match="does not exist"):
            api.resume(config.output)
        return
    with pytest.raises(RunError, match="The unlabelled images are no longer those"):
        api.resume(config.output)


def test_the_baseline_learns_from_the_labelled_images_alone(mix: Callable[..., Config], configure: Any) -> None:
    run = api.run(mix(training__epochs=1, baseline=True))
    plain = api.run(configure("plain", "plain", training__epochs=1))
    baseline = run.folder / "baseline"
    assert (baseline / "student.safetensors").read_bytes() == (plain.folder / "student.safetensors").read_bytes()
    assert "unlabelled" not in json.loads((baseline / "metrics.json").read_text())


def test_what_comes_to_a_step_is_labelled_and_unlabelled_rows(
    mix: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare_job(mix(training__mixup=1.0, data__unlabelled_ratio=2.0), Observer())
    loader = job.train_loader()
    training = Training(
        job.config, tmp_path, job.distiller, job.finetuning, loader, None, None, None, job.fabric, Observer(), ""
    )
    batch: LoadedBatch = next(iter(loader.epoch(0)))
    fed = training.prepare(batch, 0)
    images, target, soft = fed.images, fed.target, fed.soft_target
    assert images.shape == (48, 3, 28, 28)
    assert (target[:16] >= 0).all()
    assert (target[16:] == -1).all()
    assert soft is not None
    assert torch.equal(soft[:16].argmax(1), target[:16])
    assert sorted(batch.index[16:].tolist()) == sorted(set(batch.index[16:].tolist()))
    assert batch.index[16:].min() >= len(job.data.train)


def test_the_training_accuracy_is_that_of_the_labelled_images() -> None:
    logits = torch.eye(4)
    value = torch.tensor(1.0)
    tally = Tally(["cross_entropy"], torch.device("cpu"))
    losses = Losses(value, {"cross_entropy": value}, {"cross_entropy": value}, logits, logits.roll(1, 0))
    tally.add(losses, torch.tensor([0, 3, -1, -1]), 0)
    summary = tally.summary()
    assert summary["accuracy"] == 0.5
    assert summary["agreement"] == 0.0
    again = Tally(["cross_entropy"], torch.device("cpu"))
    again.load_state_dict(tally.state_dict())
    assert again.summary() == summary


@pytest.mark.parametrize("method", ["plain", "scn", "eac", "crd", "kd+crd"])
def test_a_method_that_can_not_use_them_is_refused_before_anything_is_read(
    configure: Callable[..., Config], method: str, tmp_path: Path
) -> None:
    config = configure(method, data__unlabelled="nowhere", data__path="nowhere")
    with pytest.raises(ConfigError, match=r"unlabelled images\. Methods that can: at, "):
        api.run(config)


def test_a_ratio_needs_images(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"'data\.unlabelled_ratio' is 2, but there are no unlabelled images"):
        configure("kd", data__unlabelled_ratio=2.0)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("inf")])
def test_a_ratio_must_be_above_0(mix: Callable[..., Config], ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.unlabelled_ratio"):
        mix(data__unlabelled_ratio=ratio)


def test_a_dry_run_counts_them_and_tells_of_the_steps(mix: Callable[..., Config]) -> None:
    plan = api.dry_run(mix(data__unlabelled_ratio=3.0, training__epochs=1))
    assert plan.images == {"train": 66, "val": 6, "test": 24, "unlabelled": 51}
    assert plan.mix == (
        "16 labelled and 48 unlabelled images a step; an epoch is 4 steps, 64 labelled and 192 unlabelled images; "
        "in 1 epoch each of the 51 unlabelled ones is shown 3.76 times on average"
    )
    assert plan.steps == 4


def test_the_python_call_takes_them(clothes: Path, pool: Path, teacher_file: Path, tmp_path: Path) -> None:
    run = api.distill(
        clothes, teacher=f"timm/vit_tiny_patch16_224:{teacher_file}", student="cifar_resnet8", method="kd",
        unlabelled=pool, unlabelled_ratio=0.1, epochs=1, batch_size=64, teacher_check="off", output=tmp_path / "run",
    )  # fmt: skip
    assert run.metrics["unlabelled"]["images_per_step"] == 6
    assert run.metrics["global_batch"] == 64
