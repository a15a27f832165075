"""What a method brings along by itself: its warm-up and the fewest images in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dropkd.config import Config
from dropkd.engine.distiller import Distiller
from dropkd.engine.observer import Observer
from dropkd.engine.schedule import Schedule
from dropkd.engine.setup import prepare_job
from dropkd.errors import ConfigError
from dropkd.models import build_network

GOLDEN = Path(__file__).parents[1] / "golden" / "schedule_cifar100.npz"


def make(method: str, **settings: Any) -> Distiller:
    torch.manual_seed(0)
    teacher = build_network("cifar_resnet8", num_classes=4, image_size=(32, 32))
    return Distiller("cifar_resnet8", teacher, method, num_classes=4, image_size=32, **settings)


def find_rises(distiller: Distiller, epochs: range) -> list[float]:
    """Return the share of its weight that the first term has in each epoch."""
    images, target = torch.rand(4, 3, 32, 32), torch.arange(4)
    name = next(iter(distiller.method.terms))
    losses = [distiller.eval()(images, target, epoch=epoch) for epoch in epochs]
    return [(one.weighted[name] / one.raw[name] / distiller.weights[name]).item() for one in losses]


def test_rates_and_warm_up_are_those_of_the_cifar_benchmarks() -> None:
    with np.load(GOLDEN) as golden:
        rates, rises = golden["out_lr"], golden["out_kd_warmup"]
    schedule = Schedule("step", 240, 1, milestones=(150, 180, 210), decay_factor=0.1)
    np.testing.assert_allclose([0.05 * schedule.factor(epoch) for epoch in range(240)], rates, rtol=1e-12)
    assert find_rises(make("dkd"), range(25)) == pytest.approx(rises[:25].tolist(), rel=1e-5)


def test_a_warm_up_that_is_given_replaces_the_methods_own_for_all_terms_or_for_one() -> None:
    assert find_rises(make("dkd", warmup_epochs=2), range(3)) == pytest.approx([0.5, 1.0, 1.0])
    assert make("dkd", warmup_epochs={"target": 3}).warmups == {"target": 3.0, "nontarget": 20.0}
    assert make("kd").warmups == {"logit": 0.0}
    assert make("kd+dkd").warmups == {"kd_logit": 0.0, "dkd_target": 20.0, "dkd_nontarget": 20.0}
    with pytest.raises(ConfigError, match=r"unknown key 'method.warmup_epochs.targt'.*Did you mean 'target'\?"):
        make("dkd", warmup_epochs={"targt": 3})


@pytest.mark.parametrize(
    ("method", "epochs", "given", "expected"),
    [
        ("dkd", 240, None, 20.0),
        ("dkd", 24, None, 2.0),
        ("dkd", 24, 5.0, 5.0),
        ("kd", 24, None, 0.0),
        ("kd+dkd", 24, None, {"kd_logit": 0.0, "dkd_target": 2.0, "dkd_nontarget": 2.0}),
        ("kd+dkd", 24, {"kd_logit": 1.0}, {"kd_logit": 1.0, "dkd_target": 2.0, "dkd_nontarget": 2.0}),
    ],
)
def test_a_run_shortens_the_methods_own_warm_up_to_a_twelfth_and_writes_it_down(
    configure: Callable[..., Config], method: str, epochs: int, given: Any, expected: Any
) -> None:
    config = configure(method, training__epochs=epochs, method__warmup_epochs=given)
    job = prepare_job(config, Observer())
    assert job.config.method.warmup_epochs == expected
    again = prepare_job(job.config, Observer())
    assert again.distiller.warmups == job.distiller.warmups


def test_a_batch_too_small_for_the_method_is_refused_before_the_first_step(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"dist compares the images .*at least 2 .*training.batch_size is 1. Raise"):
        prepare_job(configure("dist", training__batch_size=1), Observer())


@pytest.mark.parametrize(("method", "name"), [("crd", "CRD"), ("scn", "SCN"), ("kd+crd", r"KD\+CRD")])
def test_a_method_that_remembers_samples_is_not_left_to_guess_their_numbers(method: str, name: str) -> None:
    distiller = make(method, targets=torch.arange(8) % 4)
    images, target = torch.rand(4, 3, 32, 32), torch.arange(4)
    with pytest.raises(ConfigError, match=f"{name} remembers each training sample: pass its number"):
        distiller(images, target)
    assert distiller(images, target, torch.tensor([0, 5, 2, 7])).loss.isfinite()
    assert make("scn", options={"relabel": "none"})(images, target).loss.isfinite()
