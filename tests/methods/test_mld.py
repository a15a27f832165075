"""MLD: the authors' values over two views, its two forms, and its published weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from logit_pairs import ask, build, check_cifar_training, draw, load_recipe
from map_pairs import MANIFEST, check_close, golden_cases, load_golden
from torch import Tensor
from torch.nn import functional as F

from dropkd import Distiller
from dropkd.functional import kd_loss
from dropkd.methods.mld import MLD
from dropkd.models import build_network

CASES = [*golden_cases("MLD"), *golden_cases("MLD+LogitStd")]
LEVELS = {"instance": "loss_kd", "batch": "loss_bc", "classes": "loss_cc"}


def _read(name: str, **options: Any) -> tuple[Any, dict[str, Tensor], Tensor, Tensor]:
    """Return the method with a case's options, the case, and each network's logits of both views."""
    arrays, case = load_golden(name), MANIFEST[name]
    standardize = case["method"] == "MLD+LogitStd"
    method = build(
        "mld",
        arrays["in_student_weak"].shape[1],
        temperature=float(case["hyper"]["temperatures"][0]),
        standardize=standardize,
        **options,
    )
    views = [torch.cat([arrays[f"in_{side}_weak"], arrays[f"in_{side}_strong"]]) for side in ("student", "teacher")]
    return method, arrays, *views


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_authors_code_with_their_weights(name: str) -> None:
    method, arrays, student, teacher = _read(name)
    weight = MANIFEST[name]["hyper"]["kd_weight"]
    target = arrays["in_target"].repeat(2)
    terms = ask(method, student, teacher, target)
    for term, output in LEVELS.items():
        check_close(name, weight * terms[term], arrays[f"out_{output}"])
    # The engine averages over all rows; the authors add 0.1 for each view.
    cross_entropy = MLD.cross_entropy_weight * F.cross_entropy(student, target)
    total = cross_entropy + weight * torch.stack([*terms.values()]).sum()
    check_close(name, cross_entropy, arrays["out_loss_ce"])
    check_close(name, total, arrays["out_loss"])


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_authors_code(name: str) -> None:
    method, arrays, student, teacher = _read(name)
    student.requires_grad_()
    target = arrays["in_target"].repeat(2)
    terms = ask(method, student, teacher, target)
    weight = MANIFEST[name]["hyper"]["kd_weight"]
    total = weight * torch.stack([*terms.values()]).sum() + 0.2 * F.cross_entropy(student, target)
    (gradient,) = torch.autograd.grad(total, student)
    compared = 0
    for view, rows in zip(("weak", "strong"), gradient.chunk(2), strict=True):
        if f"grad_loss_wrt_student_{view}" in arrays:
            check_close(name, rows, arrays[f"grad_loss_wrt_student_{view}"])
            compared += 1
    assert compared


@pytest.mark.parametrize("name", CASES)
def test_the_intended_form_weighs_images_one_by_one_and_compares_the_strong_view_at_all_temperatures(name: str) -> None:
    method, arrays, student, teacher = _read(name, form="intended")
    found = ask(method, student, teacher)
    weight = MANIFEST[name]["hyper"]["kd_weight"]
    check_close(name, weight * found["instance"], arrays["ref_variant_kd_persample_mask_allstrong"].to(student.dtype))
    check_close(name, weight * found["batch"], arrays["out_loss_bc"])
    check_close(name, weight * found["classes"], arrays["out_loss_cc"])


def test_the_first_temperature_is_an_option_and_the_others_are_not() -> None:
    method, student, teacher = build("mld", temperature=2.5), draw(seed=1), draw(seed=2)
    assert method.temperatures == (2.5, 3.0, 5.0, 2.0, 6.0)
    method.restrict_terms(["instance"])
    (weak, strong), (goal, strong_goal) = student.chunk(2), teacher.chunk(2)
    sure = torch.softmax(goal, dim=1).amax(1)
    share = (sure <= sure.median()).double().mean()
    weakly = [kd_loss(weak, goal, t) for t in method.temperatures]
    strongly = [kd_loss(strong, strong_goal, t) for t in method.temperatures[:3]]
    expected = share * sum(weakly) + sum(strongly) + sum(weakly[3:])
    torch.testing.assert_close(ask(method, student, teacher)["instance"], expected)


def test_each_image_comes_twice_and_both_views_are_labelled() -> None:
    networks = [build_network(f"cifar_resnet{n}", num_classes=3, image_size=(16, 16)) for n in (8, 14)]
    distiller = Distiller(*networks, "mld").eval()
    images, target = torch.rand(4, 3, 16, 16), torch.tensor([0, 2])
    losses = distiller(images, target.repeat(2))
    with torch.no_grad():
        logits = networks[0](images).logits
    by_hand = 0.1 * (F.cross_entropy(logits[:2], target) + F.cross_entropy(logits[2:], target))
    torch.testing.assert_close(losses.weighted["cross_entropy"], by_hand)
    assert losses.logits.shape == (2, 3)


def test_one_image_in_two_views_is_a_batch() -> None:
    terms = ask(build("mld"), draw(images=2, seed=1), draw(images=2, seed=2))
    assert all(value.isfinite() and value > 0 for value in terms.values())


def test_defaults_are_the_published_ones() -> None:
    assert MLD.terms == {"instance": 0.9, "batch": 0.9, "classes": 0.9}
    assert (MLD.views, MLD.labelled_views, MLD.cross_entropy_weight) == (("standard", "strong"), 2, 0.2)
    assert (build("mld").form, build("mld").temperatures) == ("code", (4.0, 3.0, 5.0, 2.0, 6.0))
    assert not list(build("mld").parameters())
    config = load_recipe("mld")
    check_cifar_training(config, lr=0.025)
    assert config.method.weights == {"cross_entropy": 0.2, **MLD.terms}
    assert config.method.options == {"form": "code", "temperature": 4.0, "standardize": False}
