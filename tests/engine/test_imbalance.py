"""Uneven classes: weights against torch's own, what picks the epoch, and when a run stops early."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listener
from stopped_runs import StopAt, assert_same, checkpoint_of

from dropkd import api
from dropkd.cli import run_command_line
from dropkd.config import Config
from dropkd.engine.distiller import Distiller
from dropkd.engine.imbalance import class_weights
from dropkd.engine.journal import read_journal
from dropkd.engine.selection import find_early_stop, rank_scores
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError
from dropkd.models import build_network


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory, clothes: Path) -> Path:
    """Return ``clothes`` with 24, 24 and 6 training images."""
    folder = tmp_path_factory.mktemp("uneven")
    for path in sorted(clothes.rglob("*.png")):
        few = path.parent.name == "trouser" and path.parent.parent.name == "train"
        if few and path not in sorted(path.parent.iterdir())[:6]:
            continue
        copy = folder / path.relative_to(clothes)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("kind", ["balanced", "effective"])
def test_weights_have_the_mean_1_over_the_images(kind: str) -> None:
    counts = np.array([1290, 281, 717, 4772, 1982, 705, 2524])
    weights = class_weights(counts, kind)
    assert weights is not None
    assert float((weights.double() * torch.from_numpy(counts)).sum() / counts.sum()) == pytest.approx(1)
    assert weights.argmax() == counts.argmin()


def test_balanced_weights_times_counts_are_equal_and_effective_ones_follow_the_formula() -> None:
    counts = np.array([1000, 100, 10])
    balanced = class_weights(counts, "balanced")
    assert balanced is not None
    assert (balanced * torch.from_numpy(counts)).tolist() == pytest.approx([370, 370, 370])
    effective = class_weights(counts, "effective", beta=0.99)
    assert effective is not None
    wanted = [(1 - 0.99) / (1 - 0.99**n) for n in (1000, 100, 10)]
    assert (effective / effective[0]).tolist() == pytest.approx([w / wanted[0] for w in wanted])


def test_effective_weights_lie_between_equal_and_balanced_ones() -> None:
    counts = np.array([500, 20])
    equal = class_weights(counts, "effective", beta=0.0)
    near = class_weights(counts, "effective", beta=1 - 1e-9)
    balanced = class_weights(counts, "balanced")
    assert equal is not None
    assert near is not None
    assert balanced is not None
    assert equal.tolist() == [1, 1]
    assert near.tolist() == pytest.approx(balanced.tolist(), rel=1e-4)


def test_a_class_without_training_images_has_the_weight_1() -> None:
    weights = class_weights(np.array([3, 0, 1]), "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx([2 / 3, 1, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cross_entropy_is_torchs_own_with_these_weights(smoothing: float) -> None:
    torch.manual_seed(0)
    network = build_network("cifar_resnet8", num_classes=3, image_size=(28, 28))
    weights = torch.tensor([0.5, 1.0, 4.0])
    distiller = Distiller(network, method="plain", class_weights=weights, label_smoothing=smoothing).eval()
    images, target = torch.rand(6, 3, 28, 28), torch.tensor([0, 1, 2, 2, 1, 0])
    losses = distiller(images, target)
    wanted = torch.nn.functional.cross_entropy(losses.logits, target, weight=weights, label_smoothing=smoothing)
    assert losses.loss.item() == pytest.approx(wanted.item())
    assert "class_weights" not in distiller.state_dict()


def test_the_scores_are_compared_by_the_one_that_was_chosen_and_ties_by_the_loss() -> None:
    one = {"accuracy": 0.9, "uar": 0.5, "loss": 0.4}
    other = {"accuracy": 0.8, "uar": 0.7, "loss": 0.3}
    better = {by: rank_scores(one, by) > rank_scores(other, by) for by in ("accuracy", "uar", "loss")}
    assert better == {"accuracy": True, "uar": False, "loss": False}
    assert rank_scores({**one, "loss": 0.1}, "uar") > rank_scores(one, "uar")


def test_patience_counts_from_the_best_epoch_or_from_the_end_of_a_probe() -> None:
    best = {"accuracy": 0.5, "loss": 1.0}
    stops = [find_early_stop(n, 20, 2, best, "accuracy", 3) is not None for n in range(3, 8)]
    assert stops == [False, False, False, True, True]
    assert find_early_stop(8, 20, 2, best, "accuracy", 3, counted_from=6) is None
    assert find_early_stop(9, 20, 2, best, "accuracy", 3, counted_from=6) is not None
    # At its end anyway, before the first epoch, and without patience.
    assert find_early_stop(20, 20, 2, best, "accuracy", 3) is None
    assert find_early_stop(0, 20, -1, None, "accuracy", 1) is None
    assert find_early_stop(19, 20, 2, best, "accuracy", None) is None


# At this rate nothing is learned, so no epoch is better than the first; a tie would go to the lower loss.
STUCK: dict[str, Any] = {"method": "plain", "training__lr": 1e-12, "training__epochs": 9, "training__patience": 2}


def test_a_run_stops_when_no_epoch_was_better_and_says_so(configure: Callable[..., Config]) -> None:
    listener = Listener()
    run = api.run(configure(**STUCK, training__ema_decay=0.0), observer=listener)
    stopped = run.metrics["stopped_early"]
    assert stopped is not None
    done = stopped["epochs"]
    assert done < 9
    assert len(run.history) == done == run.metrics["epochs"]
    assert (stopped["planned"], stopped["patience"]) == (9, 2)
    assert done == stopped["best_epoch"] + 3
    assert run.metrics["steps"] == done * 4
    assert run.metrics["last_epoch"]["epoch"] == done - 1
    assert any(text.startswith(f"Stopped early, after {done} of 9 epochs") for text in listener.messages)
    events = read_journal(run.folder / "metrics.jsonl")
    assert [event["event"] for event in events[-2:]] == ["stop", "end"]
    assert f"Training stopped after {done} of 9 epochs" in (run.folder / "report.html").read_text()


def test_a_run_stopped_early_has_nothing_to_resume(configure: Callable[..., Config]) -> None:
    run = api.run(configure(**STUCK))
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    api.resume(run.folder)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_a_run_killed_between_its_early_stop_and_its_last_file_ends_alike(configure: Callable[..., Config]) -> None:
    whole = api.run(configure(**STUCK, output="whole"))
    other = api.run(configure(**STUCK, output="other"))
    for name in ("metrics.json", "predictions.parquet", "report.html"):
        (other.folder / name).unlink()
    resumed = api.resume(other.folder)
    assert resumed.metrics["stopped_early"] == whole.metrics["stopped_early"]
    assert resumed.metrics["splits"] == whole.metrics["splits"]
    kinds = [(r["event"], r.get("step")) for r in read_journal(other.folder / "metrics.jsonl")]
    assert kinds == [(r["event"], r.get("step")) for r in read_journal(whole.folder / "metrics.jsonl")]


def test_uneven_classes_are_judged_by_uar_unless_asked_otherwise(
    configure: Callable[..., Config], uneven: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "cli"
    arguments = ["--model", "cifar_resnet8", "--epochs", "2", "--output", str(folder), "--sampling", "balanced"]
    assert run_command_line(["train", str(uneven), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "The classes are uneven (the largest has 4.4 times" in printed
    assert "UAR" in printed.split("epoch 1/2")[1].splitlines()[0]
    assert "val, UAR" in printed
    assert "by val UAR" in printed
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["selected"]["by"] == "val UAR"
    assert metrics["class_counts"] == [22, 22, 5]
    assert "The classes are uneven (5 to 22 training images)" in (folder / "report.html").read_text()
    other = configure(method="plain", data__path=str(uneven), training__epochs=1, training__select_by="accuracy")
    assert api.run(other).metrics["selected"]["by"] == "val accuracy"


def test_even_classes_are_judged_by_accuracy(configure: Callable[..., Config]) -> None:
    listener = Listener()
    run = api.run(configure(method="plain", training__epochs=1), observer=listener)
    assert run.metrics["selected"]["by"] == "val accuracy"
    assert not any("uneven" in text for text in listener.messages)
    assert run.config.training.select_by == "accuracy"


def test_a_balanced_run_stopped_and_resumed_ends_like_one_that_was_not(
    configure: Callable[..., Config], uneven: Path
) -> None:
    settings: dict[str, Any] = {
        "method": "plain", "data__path": str(uneven), "data__sampling": "balanced",
        "training__batch_size": 8, "training__class_weights": "effective", "training__epochs": 2,
    }  # fmt: skip
    listener = Listener()
    whole = api.run(configure(output="whole", **settings), observer=listener)
    assert any("favour them twice" in text for text in listener.warnings)
    with pytest.raises(Interrupted):
        api.run(configure(output="halved", **settings), observer=StopAt(4, signal.SIGTERM))
    resumed = api.resume(whole.folder.parent / "halved")
    assert_same(checkpoint_of(whole.folder), checkpoint_of(resumed.folder))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training__patience": 3, "data__validation_fraction": 0}, "'training.patience' needs validation images"),
        ({"training__select_by": "uar", "data__validation_fraction": 0}, "'training.select_by' needs validation"),
        ({"method": "scn", "training__class_weights": "balanced"}, "scn gives the cross-entropy.*--sampling balanced"),
    ],
)
def test_what_can_not_be_done_is_said_before_training(
    configure: Callable[..., Config], changes: dict[str, Any], text: str
) -> None:
    config = configure(**{"method": "plain", **changes})
    with pytest.raises(ConfigError, match=text):
        api.run(config)
    assert config.output is not None
    assert not config.output.exists()
