"""DIST: the authors' values, what a correlation lets pass, and batches that it is not defined for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from logit_pairs import ask, build, check_cifar_training, check_golden_total, draw, load_recipe
from map_pairs import MANIFEST, golden_cases

from dropkd.errors import ConfigError
from dropkd.functional import dist_loss
from dropkd.methods.dist import DIST


@pytest.mark.parametrize("name", golden_cases("DIST"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    hyper = MANIFEST[name]["hyper"]
    method = build("dist", MANIFEST[name]["shapes"]["in_student"][1], temperature=hyper["tau"])
    check_golden_total(name, method, "loss", {"inter": hyper["beta"], "intra": hyper["gamma"]})


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_terms_are_the_loss_of_rows_and_of_columns(temperature: float) -> None:
    student, teacher = draw(seed=1), draw(seed=2)
    terms = ask(build("dist", temperature=temperature), student, teacher)
    assert torch.equal(terms["inter"], dist_loss(student, teacher, 1.0, 0.0, temperature))
    assert torch.equal(terms["intra"], dist_loss(student, teacher, 0.0, 1.0, temperature))
    shares = [torch.softmax(logits / temperature, dim=1).numpy() for logits in (student, teacher)]
    rows = [np.corrcoef(s, t)[0, 1] for s, t in zip(*shares, strict=True)]
    assert terms["inter"].item() == pytest.approx(temperature**2 * (1 - np.mean(rows)), rel=1e-5)


def test_the_order_of_the_images_is_without_effect_and_that_of_one_network_alone_is_not() -> None:
    method, student, teacher = build("dist"), draw(seed=1), draw(seed=2)
    found, turned = ask(method, student, teacher), ask(method, student.flip(0), teacher.flip(0))
    torch.testing.assert_close(found, turned)
    assert ask(method, student.flip(0), teacher)["intra"] != found["intra"]


def test_one_image_has_a_correlation_over_its_classes_and_none_over_images() -> None:
    assert DIST.least_batch == 2
    method, student, teacher = build("dist"), draw(images=1, seed=1), draw(images=1, seed=2)
    with pytest.raises(ConfigError, match=r"needs at least 2 images in a batch, got 1\. Raise training.batch_size"):
        ask(method, student, teacher)
    method.restrict_terms(["inter"])
    assert ask(method, student, teacher)["inter"] > 0


def test_with_two_classes_inter_only_says_which_is_preferred() -> None:
    student, teacher = draw(classes=2, seed=1), draw(classes=2, seed=2)
    agreed = (student.argmax(1) == teacher.argmax(1)).double().mean()
    terms = ask(build("dist", 2, temperature=1.0), student, teacher)
    torch.testing.assert_close(terms["inter"], 2 * (1 - agreed), rtol=1e-5, atol=1e-5)


def test_defaults_are_the_published_ones_for_cifar() -> None:
    assert DIST.terms == {"inter": 2.0, "intra": 2.0}
    assert (DIST.cross_entropy_weight, DIST.warmup_epochs, build("dist").temperature) == (1.0, 0.0, 4.0)
    assert not list(build("dist").parameters())
    config = load_recipe("dist")
    check_cifar_training(config)
    assert config.method.weights == {"cross_entropy": 1.0, **DIST.terms}
    assert config.method.options == {"temperature": 4.0, "standardize": False}
