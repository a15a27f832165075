"""The end of a run: what was answered already is not asked again, and the figures are those of asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dropkd import api
from dropkd.config import Config
from dropkd.data import EvalLoader
from dropkd.engine import fabric, outcome, teachers, training
from dropkd.engine.evaluation import Answers, answer_split
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.models import Network


def _count_asking(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """Count how often each network answers to each split, after the last epoch and before the first."""
    asked: Counter[tuple[str, str]] = Counter()

    def count(network: Network, loader: EvalLoader, *arguments: Any, **options: Any) -> Answers:
        asked[network.spec.name, loader.split.name] += 1
        return answer_split(network, loader, *arguments, **options)

    for module in (outcome, teachers):
        monkeypatch.setattr(module, "answer_split", count)
    return asked


def _without_clock(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def _keep_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.Position, "prefers", lambda *_: True)


def test_a_selected_last_epoch_is_judged_once_and_the_teacher_asked_once_about_each_split(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep_the_last(monkeypatch)
    asked = _count_asking(monkeypatch)
    run = api.run(configure("kd", training__epochs=2))
    assert run.metrics["selected"]["epoch"] == 1
    student, teacher = "cifar_resnet8", "vit_tiny_patch16_224"
    assert asked == {(student, "val"): 1, (student, "test"): 1, (teacher, "val"): 1, (teacher, "test"): 1}
    for split, scores in run.metrics["splits"].items():
        # The selected weights are judged by more than the last ones.
        for key, value in run.metrics["last_epoch"][split].items():
            assert scores[key] == (None if value is None else pytest.approx(value, rel=1e-5))


def test_figures_and_predictions_are_those_of_asking_again(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    _keep_the_last(monkeypatch)
    quick = api.run(configure("kd", training__epochs=2, output="quick"))
    # Another epoch is said to be the selected one, and the precision another, so that all is asked anew.
    monkeypatch.setattr(outcome, "computes_in_float32", lambda _: False)
    conclude = outcome.conclude

    def conclude_slowly(job: Any, training: Any, *, baseline: str | None) -> dict[str, Any]:
        training.position.best_epoch = -1
        return conclude(job, training, baseline=baseline)

    monkeypatch.setattr("dropkd.engine.running.conclude", conclude_slowly)
    slow = api.run(configure("kd", training__epochs=2, output="slow"))
    changed = {"selected": None, "output": None}
    assert {**_without_clock(quick.metrics), **changed} == {**_without_clock(slow.metrics), **changed}
    names = [run.folder / "predictions.parquet" for run in (quick, slow)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_an_earlier_selected_epoch_leaves_the_last_one_its_own_figures(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.Position, "prefers", lambda self, *_: self.epoch == 0)
    asked = _count_asking(monkeypatch)
    run = api.run(configure("kd", training__epochs=3))
    assert run.metrics["selected"]["epoch"] == 0
    assert asked["cifar_resnet8", "val"] == asked["cifar_resnet8", "test"] == 2
    assert run.metrics["last_epoch"]["epoch"] == 2
    assert run.metrics["last_epoch"]["test"]["loss"] != run.metrics["splits"]["test"]["loss"]


@pytest.mark.parametrize(
    ("device", "step", "images"), [("cpu", 8, 8), ("cpu", 500, 64), ("cuda", 8, 32), ("cuda", 500, 250)]
)
def test_a_processor_is_asked_about_no_more_images_at_once_than_in_a_step(
    configure: Callable[..., Config], device: str, step: int, images: int
) -> None:
    job = prepare_job(configure("kd", training__batch_size=step), Observer())
    job.fabric = SimpleNamespace(device=torch.device(device))
    for network in (job.distiller.student, job.distiller.teacher):
        assert job.eval_loader(job.data.val, network).batch_size == images


@pytest.mark.parametrize(("precision", "plain"), [("auto", True), ("32", True), ("bf16", False)])
def test_only_float32_answers_alike_inside_and_outside_of_a_runs_precision(precision: str, plain: bool) -> None:
    made = fabric.make_fabric(fabric.choose_device("cpu"), precision)
    assert fabric.computes_in_float32(made) is plain


def test_a_half_precision_run_asks_the_teacher_again_in_float32(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _count_asking(monkeypatch)
    api.run(configure("kd", training__epochs=1, training__precision="bf16"))
    assert asked["vit_tiny_patch16_224", "val"] == 2
