"""Plain training and classical distillation."""

from __future__ import annotations

import pytest
import torch
from logit_pairs import build, check_cifar_training, check_golden_total, load_recipe
from map_pairs import MANIFEST, golden_cases
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import kd_loss
from dropkd.methods.kd import KD
from dropkd.methods.plain import Plain

NETWORK = Shapes(5, (), 4)
BATCH = Batch(torch.arange(3), torch.arange(3))


def answer(seed: int, classes: int = 5) -> Outputs:
    return Outputs(torch.randn(3, classes, generator=torch.Generator().manual_seed(seed)), (), torch.zeros(3, 4))


def test_plain_needs_no_teacher_and_adds_no_terms() -> None:
    method = Plain(Pair(NETWORK, None, 5))
    assert method(answer(0), None, BATCH) == {}
    assert not list(method.parameters())
    assert method.cross_entropy_weight == 1.0


def test_kd_is_the_loss_at_its_temperature() -> None:
    method = KD(Pair(NETWORK, NETWORK, 5), temperature=2.0)
    student, teacher = answer(0), answer(1)
    assert torch.equal(method(student, teacher, BATCH)["logit"], kd_loss(student.logits, teacher.logits, 2.0))


def test_kd_without_its_term_computes_nothing() -> None:
    method = KD(Pair(NETWORK, NETWORK, 5))
    method.restrict_terms([])
    assert method(answer(0), answer(1), BATCH) == {}


def test_kd_needs_a_teacher() -> None:
    with pytest.raises(ConfigError, match="KD learns from a teacher, but none is given"):
        KD(Pair(NETWORK, None, 5))


def test_kd_needs_a_teacher_with_the_students_classes() -> None:
    with pytest.raises(ModelError, match=r"one shape, got \(3, 5\) and \(3, 7\)"):
        KD(Pair(NETWORK, Shapes(7, (), 4), 5))(answer(0), answer(1, classes=7), BATCH)


def test_labels_are_classes_or_their_shares() -> None:
    method = Plain(Pair(NETWORK, None, 5))
    assert method.targets(BATCH) is BATCH.target
    shares = F.one_hot(BATCH.target, 5).float()
    assert method.targets(Batch(BATCH.target, BATCH.index, soft_target=shares)) is shares


def test_a_student_is_deployed_as_it_is() -> None:
    student = torch.nn.Linear(2, 2)
    assert Plain(Pair(NETWORK, None, 5)).deploy(student) is student


@pytest.mark.parametrize("name", golden_cases("KD"))
def test_kd_has_the_values_and_gradients_of_the_published_code(name: str) -> None:
    case = MANIFEST[name]
    method = build("kd", case["shapes"]["in_student"][1], temperature=case["hyper"]["T"])
    check_golden_total(name, method, "loss", {"logit": 1.0})
    check_golden_total(name, method, "total_ce01_kd09", {"logit": 0.9}, labelled=0.1)


def test_the_recipes_have_the_weights_of_the_cifar_benchmarks() -> None:
    plain, kd = load_recipe("plain"), load_recipe("kd")
    for config in (plain, kd):
        check_cifar_training(config)
    assert plain.method.weights == {"cross_entropy": 1.0}
    assert kd.method.weights == {"cross_entropy": 0.1, "logit": 0.9}
    assert kd.method.options == {"temperature": 4.0, "standardize": False, "form": "softmax"}
