"""DKD: the authors' values, what its two parts mean, and its published weights."""

from __future__ import annotations

import pytest
import torch
from logit_pairs import ask, build, check_cifar_training, check_golden_total, draw, load_recipe
from map_pairs import MANIFEST, golden_cases

from dropkd.functional import kd_loss
from dropkd.methods.dkd import DKD


@pytest.mark.parametrize("name", golden_cases("DKD"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    hyper = MANIFEST[name]["hyper"]
    method = build("dkd", MANIFEST[name]["shapes"]["in_student"][1], temperature=hyper["T"])
    check_golden_total(name, method, "loss", {"target": hyper["alpha"], "nontarget": hyper["beta"]})


def test_kd_is_the_target_part_and_the_others_as_far_as_the_teacher_is_unsure() -> None:
    student, teacher = draw(images=1, seed=1), draw(images=1, seed=2)
    parts = ask(build("dkd", temperature=2.0), student, teacher, torch.tensor([4]))
    unsure = 1 - torch.softmax(teacher / 2, dim=1)[0, 4]
    torch.testing.assert_close(parts["target"] + unsure * parts["nontarget"], kd_loss(student, teacher, 2.0))


def test_each_part_is_blind_to_what_the_other_sees() -> None:
    method, student, teacher = build("dkd"), draw(seed=1), draw(seed=2)
    before, target = ask(method, student, teacher), torch.arange(6)
    raised = student + 5 * torch.nn.functional.one_hot(target, 7)
    after = ask(method, raised, teacher)
    torch.testing.assert_close(after["nontarget"], before["nontarget"])
    assert after["target"] != before["target"]
    # The other classes exchange their places: the mass of all of them stays.
    others = torch.stack([torch.cat([row[:i], row[i + 1 :].flip(0)]) for i, row in enumerate(student)])
    turned = torch.stack([torch.cat([o[:i], student[i, i : i + 1], o[i:]]) for i, o in enumerate(others)])
    after = ask(method, turned, teacher)
    torch.testing.assert_close(after["target"], before["target"])
    assert after["nontarget"] != before["nontarget"]


def test_with_two_classes_there_is_nothing_to_learn_among_the_others() -> None:
    terms = ask(build("dkd", 2), draw(classes=2, seed=1), draw(classes=2, seed=2))
    assert terms["nontarget"] == 0
    assert terms["target"] > 0


def test_defaults_are_the_published_ones() -> None:
    assert DKD.terms == {"target": 1.0, "nontarget": 8.0}
    assert (DKD.cross_entropy_weight, DKD.warmup_epochs, build("dkd").temperature) == (1.0, 20.0, 4.0)
    assert not list(build("dkd").parameters())


def test_the_recipe_has_the_weights_of_its_pair() -> None:
    config = load_recipe("dkd")
    check_cifar_training(config)
    assert config.method.weights == {"cross_entropy": 1.0, "target": 1.0, "nontarget": 2.0}
    assert config.method.options == {"temperature": 4.0, "standardize": False}
