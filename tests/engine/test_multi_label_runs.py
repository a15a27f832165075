"""Runs on real images with several labels: training, distillation, resuming, and what they leave behind."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import average_precision_score
from stopped_runs import StopAt, assert_same, checkpoint_of

from dropkd import api
from dropkd.config import Config, load_config
from dropkd.engine.mixing import mix_batch
from dropkd.engine.observer import Observer
from dropkd.engine.running import resume_run, start_run
from dropkd.engine.selection import EarlyStop
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError, DataError, TrainingError
from dropkd.models import build_network, read_spec, save_network

CLASSES = ("ankle", "body", "feet", "legs", "open")

Configure = Callable[..., Config]


@pytest.fixture(scope="module")
def teacher(outfits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that knows the labels. Read only."""
    output = tmp_path_factory.mktemp("runs") / "teacher"
    settings = {"training.label_smoothing": 0.05, "training.warmup_epochs": 1}
    run = api.train(
        outfits, model="cifar_resnet14", output=output, epochs=8, batch_size=16, lr=0.005, settings=settings
    )
    return run.folder


@pytest.fixture
def configure(outfits: Path, teacher: Path, tmp_path: Path) -> Configure:
    def make(method: str = "kd", output: str = "run", **changes: Any) -> Config:
        flags = {
            "data.path": str(outfits),
            "student.name": "cifar_resnet8",
            "method.name": method,
            "teacher.source": str(teacher) if method != "plain" else None,
            "training.epochs": 3,
            "training.batch_size": 16,
            "training.lr": 0.005,
            "output": str(tmp_path / output),
        }
        return load_config(flags={**flags, **{key.replace("__", "."): value for key, value in changes.items()}})

    return make


class Listener(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_warning(self, text: str) -> None:
        self.messages.append(text)


def test_a_teacher_learns_the_labels_and_its_figures_are_those_of_scikit_learn(teacher: Path) -> None:
    metrics = json.loads((teacher / "metrics.json").read_text())
    assert metrics["multi_label"] is True
    assert metrics["imbalanced"] is False
    assert metrics["classes"] == list(CLASSES)
    assert metrics["selected"]["by"] == "val mAP"
    table = pq.read_table(teacher / "predictions.parquet").filter(
        pq.read_table(teacher / "predictions.parquet")["split"].to_numpy(zero_copy_only=False) == "test"
    )
    truth = np.zeros((32, 5))
    for row, numbers in zip(truth, table["target"].to_pylist(), strict=True):
        row[numbers] = 1
    shares = np.array(table["probabilities"].to_pylist())
    scores = metrics["splits"]["test"]
    assert scores["map"] == pytest.approx(average_precision_score(truth, shares), abs=1e-6)
    assert scores["map"] > truth.mean() + 0.2
    assert scores["class_ap"] == pytest.approx(average_precision_score(truth, shares, average=None), abs=1e-6)
    assert scores["exact_match"] == np.mean(((shares >= 0.5) == (truth > 0)).all(axis=1))
    assert [np.flatnonzero(p >= 0.5).tolist() for p in shares] == table["prediction"].to_pylist()
    assert table["teacher_prediction"].to_pylist() == [None] * 32
    assert "accuracy" not in scores
    assert "uar" not in scores


def test_the_weights_say_that_their_logits_are_questions_of_their_own(teacher: Path) -> None:
    spec = read_spec(teacher / "student.safetensors")
    assert spec is not None
    assert spec.multi_label
    assert spec.classes == CLASSES


def test_each_epoch_is_in_the_journal_and_the_best_by_map_is_kept(teacher: Path) -> None:
    events = [json.loads(line) for line in (teacher / "metrics.jsonl").read_text().splitlines()]
    epochs = [event for event in events if event["event"] == "epoch"]
    values = [epoch["val"]["map"] for epoch in epochs]
    metrics = json.loads((teacher / "metrics.json").read_text())
    assert values[metrics["selected"]["epoch"]] == max(values)
    assert metrics["splits"]["val"]["map"] == pytest.approx(max(values), abs=1e-6)
    assert all(0 <= epoch["train"]["exact_match"] <= 1 for epoch in epochs)


@pytest.mark.parametrize("method", ["kd", "dropkd", "kd+at"])
def test_a_student_is_distilled_and_stands_beside_its_teacher(configure: Configure, method: str) -> None:
    told = Listener()
    folder = start_run(configure(method, training__epochs=1), told)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 <= metrics["splits"]["test"]["agreement"] <= 1
    assert metrics["teacher"]["splits"]["test"]["map"] > 0.5
    assert any("The teacher's mAP on 128 training and validation images is" in text for text in told.messages)
    terms = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-2])["train"]["terms"]
    assert all(term["raw"] > 0 for term in terms.values())


def test_distillation_teaches_without_labels_what_the_teacher_knows(configure: Configure) -> None:
    folder = start_run(
        configure("kd", training__epochs=5, method__weights={"cross_entropy": 0, "logit": 1}), Observer()
    )
    scores = json.loads((folder / "metrics.json").read_text())["splits"]["test"]
    assert scores["map"] > 0.6


@pytest.mark.parametrize(
    ("mixing", "unlabelled"),
    [({}, False), ({"training__mixup": 0.4, "training__cutmix": 1.0}, False), ({"training__mixup": 0.4}, True)],
    ids=["plain", "mixed", "mixed, with unlabelled images"],
)
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(
    configure: Configure, clothes: Path, mixing: dict[str, Any], unlabelled: bool
) -> None:
    mixing = {**mixing, "data__unlabelled": str(clothes)} if unlabelled else mixing
    whole = start_run(configure("kd", "whole", **mixing), Observer())
    with pytest.raises(Interrupted):
        start_run(configure("kd", "stopped", **mixing), StopAt(9, signal.SIGTERM))
    stopped = resume_run(whole.parent / "stopped", Observer())
    assert_same(checkpoint_of(whole), checkpoint_of(stopped))
    names = ("student.safetensors", "predictions.parquet")
    assert all((whole / name).read_bytes() == (stopped / name).read_bytes() for name in names)
    figures = [json.loads((run / "metrics.json").read_text()) for run in (whole, stopped)]
    assert figures[0]["splits"] == figures[1]["splits"]


def test_labels_are_mixed_in_the_shares_of_their_images() -> None:
    images = torch.stack([torch.full((3, 2, 2), 1.0), torch.zeros(3, 2, 2)])
    target = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    mixed, soft = mix_batch(images, target, 3, mixup=1.0, cutmix=0.0, seed=0, epoch=0, step=0)
    share = mixed[0, 0, 0, 0]
    one, none = torch.tensor(1.0), torch.tensor(0.0)
    expected = torch.stack([torch.stack([share, one, none]), torch.stack([1 - share, one, none])])
    torch.testing.assert_close(soft, expected)


def test_evaluation_gives_the_runs_own_figures_again(teacher: Path) -> None:
    again = api.evaluate(teacher)
    metrics = json.loads((teacher / "metrics.json").read_text())["splits"]
    for split in ("val", "test"):
        assert again[split]["map"] == pytest.approx(metrics[split]["map"], abs=1e-6)
        assert again[split]["exact_match"] == metrics[split]["exact_match"]


@pytest.mark.parametrize("method", ["kd", "dropkd"])
def test_the_teachers_answers_may_come_from_a_cache(configure: Configure, tmp_path: Path, method: str) -> None:
    losses = {}
    for mode in ("off", "on"):
        settings = {"cache__mode": mode, "cache__folder": str(tmp_path / "caches"), "data__distinct_views": 2}
        folder = start_run(configure(method, mode, **settings), Observer())
        records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        losses[mode] = [record["loss"] for record in records if record["event"] == "step"]
    assert json.loads((tmp_path / "on" / "metrics.json").read_text())["teacher_cache"]["views"] == 2
    np.testing.assert_allclose(losses["on"], losses["off"], rtol=5e-3)
    assert losses["on"] != losses["off"]


def test_it_does_not_judge_images_with_one_class_each(teacher: Path, outfits: Path) -> None:
    rows = [f"train/{k:03}.png,{CLASSES[k % 5]},train" for k in range(10)]
    file = outfits.parent / "one.csv"
    file.write_text("\n".join(["path,label,split", *rows]) + "\n")
    with pytest.raises(DataError, match=r"trained on images with several labels each, and those of .* have one class"):
        api.evaluate(teacher, f"{file}", split="train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training__class_weights": "balanced"},
            "weighs images by their one class, and these have several",
        ),
        ({"data__sampling": "balanced"}, "draws images by their one class"),
        ({"cache__top_logits": 3}, "probabilities do not add up to 1. Leave it out"),
        ({"training__select_by": "accuracy"}, "'accuracy', but these images have several labels or none. Use 'map'"),
        ({"method": "dkd"}, "DKD needs one class for each image .* is dropkd or kd; of features, at"),
        ({"method__form": "softmax"}, "method.form is 'softmax'"),
    ],
)
def test_a_setting_that_needs_one_class_is_refused_before_anything_is_written(
    configure: Configure, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        start_run(configure(changes.pop("method", "kd"), **changes), Observer())
    assert not (tmp_path / "run").exists()


def test_map_is_no_score_of_images_with_one_class(configure: Configure, clothes: Path) -> None:
    with pytest.raises(ConfigError, match="'map', the mean average precision of images with several labels"):
        start_run(configure("plain", data__path=str(clothes), training__select_by="map"), Observer())


def test_a_teacher_of_random_weights_stops_the_run(configure: Configure, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "random.safetensors"
    save_network(build_network("cifar_resnet8", num_classes=5, image_size=(28, 56), classes=CLASSES), file)
    with pytest.raises(TrainingError, match=r"mAP on 128 images of your data is .*a random order has"):
        start_run(configure("kd", teacher__source=str(file)), Observer())


def test_a_label_map_may_rename_labels_and_may_not_join_them(configure: Configure, tmp_path: Path) -> None:
    names = dict(zip(CLASSES, CLASSES, strict=True))
    table = tmp_path / "map.csv"
    table.write_text("teacher,own\n" + "".join(f"{a},{b}\n" for a, b in reversed(names.items())))
    folder = start_run(configure("kd", training__epochs=1, teacher__label_map=str(table)), Observer())
    assert json.loads((folder / "metrics.json").read_text())["teacher"]["splits"]["test"]["map"] > 0.5


def test_an_early_stop_says_that_it_went_by_map() -> None:
    stop = EarlyStop(epochs=3, planned=9, best_epoch=0, patience=2, by="map", value=0.5)
    assert "no better validation mAP for 2 epochs (best: 50.00 % in epoch 1)" in str(stop)
