"""MLDR-KD: the authors' numbers, its branches and gate, and any pair of networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import class_relation_loss, dfra_loss, kd_loss, sample_relation_loss
from dropkd.methods import build_method
from dropkd.methods.mldrkd import MLDRKD
from dropkd.models import build_network
from dropkd.testing import check_method

GOLDEN = Path(__file__).parents[1] / "golden_later"
LOSSES = ["dfra_f64_b8_c10", "dfra_f64_b4_c7_T4_a05", "dfra_f64_b1_c3", "dfra_f32_b16_c40", "dfra_f32_b4_c7_big60"]
CNN = Shapes(10, ((8, 16, 12), (16, 8, 6), (32, 4, 3)), 32)
VIT = Shapes(10, ((24, 5, 7),) * 5, 24)
ONE_CELL = Shapes(10, ((6, 1, 1),), 6)


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def answer(shapes: Shapes, images: int = 4, seed: int = 0) -> Outputs:
    maps = tuple(draw(images, *shape, seed=seed + number) for number, shape in enumerate(shapes.maps))
    return Outputs(draw(images, shapes.logits, seed=seed + 50), maps, draw(images, shapes.embedding, seed=seed + 60))


def labels(images: int = 4) -> Batch:
    return Batch(torch.zeros(images, dtype=torch.int64), torch.arange(images))


def build(student: Shapes = CNN, teacher: Shapes = VIT, active: Sequence[str] = (), **options: Any) -> Any:
    torch.manual_seed(0)
    method = build_method("mldrkd", Pair(student, teacher, student.logits), options)
    if active:
        method.restrict_terms(active)
    return method.train()


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_authors_code(name: str) -> None:
    case = load(name)
    student, teacher = case["in_student"].requires_grad_(), case["in_teacher"]
    temperature = case["hyper_temperature"].item()
    loss = dfra_loss(student, teacher, case["hyper_alpha"].item(), temperature)
    (grad,) = torch.autograd.grad(loss, student)
    close = {"rtol": 1e-9, "atol": 1e-12} if student.dtype == torch.float64 else {"rtol": 2e-4, "atol": 1e-5}
    torch.testing.assert_close(loss, case["out_loss"], **close)
    torch.testing.assert_close(grad, case["grad_student"], **close)
    parts = class_relation_loss(student, teacher, temperature), sample_relation_loss(student, teacher, temperature)
    torch.testing.assert_close(parts[0], case["out_class_relation"], **close)
    torch.testing.assert_close(parts[1], case["out_sample_relation"], **close)


def test_the_method_is_the_authors_branches_gate_and_losses_with_their_gradients() -> None:
    case = load("mldrkd_module_f64_train")
    maps = tuple(case[f"in_map{number}"].requires_grad_() for number in range(4))
    logits = case["in_student_logits"].requires_grad_()
    shapes = Shapes(3, tuple((m.shape[1], m.shape[2], m.shape[3]) for m in maps), 16)
    method = build(shapes, Shapes(3, (), 9), width=11).double()
    parameters = list(method.parameters())
    nn.utils.vector_to_parameters(case["par_all"], parameters)
    assert sum(p.numel() for p in parameters) == case["par_all"].numel()
    student = Outputs(logits, maps, torch.zeros(4, 16, dtype=torch.float64))
    teacher = Outputs(case["in_teacher_logits"], (), torch.zeros(4, 9, dtype=torch.float64))
    terms = method(student, teacher, labels())
    for name, value in terms.items():
        torch.testing.assert_close(value, case[f"out_{name}"], rtol=1e-10, atol=1e-12)
    grads = torch.autograd.grad(torch.stack(list(terms.values())).sum(), [logits, *maps, *parameters])
    expected = [case["grad_student_logits"], *(case[f"grad_map{number}"] for number in range(4))]
    for found, wanted in zip(grads, expected, strict=False):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    flat = torch.cat([grad.flatten() for grad in grads[5:]])
    torch.testing.assert_close(flat, case["grad_par_all"], rtol=1e-8, atol=1e-11)


def test_equal_logits_give_0_and_no_gradient() -> None:
    teacher = draw(5, 7).double()
    student = teacher.clone().requires_grad_()
    for loss in (dfra_loss, class_relation_loss, sample_relation_loss):
        value = loss(student, teacher)
        (grad,) = torch.autograd.grad(value, student)
        assert value.item() == pytest.approx(0.0, abs=1e-12)
        assert grad.abs().max() < 1e-12


def test_alpha_weighs_the_probabilities_and_without_it_the_relations_are_left() -> None:
    student, teacher = draw(5, 7, seed=1), draw(5, 7, seed=2)
    relations = class_relation_loss(student, teacher, 2.0) + sample_relation_loss(student, teacher, 2.0)
    torch.testing.assert_close(dfra_loss(student, teacher, 0.0, 2.0), relations)
    found = dfra_loss(student, teacher, 3.0, 2.0) - relations
    torch.testing.assert_close(found, 3 * kd_loss(student, teacher, 2.0) / 4, rtol=1e-4, atol=1e-6)


def test_classes_and_images_change_places_between_the_two_relations() -> None:
    # Five of each, so that the number of classes by which both are scaled is the same either way.
    student, teacher = draw(5, 5, seed=1), draw(5, 5, seed=2)
    found = class_relation_loss(student.T, teacher.T)
    torch.testing.assert_close(found, sample_relation_loss(student, teacher))


def test_classes_may_be_numbered_otherwise_but_the_level_of_a_row_counts() -> None:
    student, teacher, order = draw(5, 4, seed=1), draw(5, 4, seed=2), [2, 0, 3, 1]
    torch.testing.assert_close(dfra_loss(student[:, order], teacher[:, order]), dfra_loss(student, teacher))
    moved = class_relation_loss(student + 1, teacher)
    assert moved.item() != pytest.approx(class_relation_loss(student, teacher).item(), rel=1e-2)


def test_an_image_has_no_relation_to_others_where_it_is_alone() -> None:
    assert sample_relation_loss(draw(1, 4, seed=1), draw(1, 4, seed=2)).item() == 0.0


def test_a_thousand_classes_give_finite_values_and_gradients() -> None:
    student, teacher = (20 * draw(2, 1000, seed=1)).requires_grad_(), 20 * draw(2, 1000, seed=2)
    loss = dfra_loss(student, teacher)
    (grad,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert grad.isfinite().all()


def test_the_term_logit_is_the_loss_with_its_options() -> None:
    student, teacher = answer(CNN, seed=1), answer(VIT, seed=2)
    terms = build(active=["logit"], alpha=0.5, temperature=3.0)(student, teacher, labels())
    assert list(terms) == ["logit"]
    torch.testing.assert_close(terms["logit"], dfra_loss(student.logits, teacher.logits, 0.5, 3.0))


def test_stages_are_summed_and_the_fusion_weighs_each_image_stage_and_class() -> None:
    method, student, teacher = build(), answer(CNN, seed=1), answer(VIT, seed=2)
    terms = method(student, teacher, labels())
    vectors = [branch[:-1](m) for branch, m in zip(method.branches, student.maps, strict=True)]
    logits = [branch[-1](v) for branch, v in zip(method.branches, vectors, strict=True)]
    torch.testing.assert_close(terms["stages"], sum(dfra_loss(z, teacher.logits) for z in logits))
    mixture = torch.zeros(4, 10)
    for image in range(4):
        scores = torch.stack([method.gate(v[image]) for v in vectors])
        for label in range(10):
            shares = torch.softmax(scores[:, label], dim=0)
            mixture[image, label] = sum(w * z[image, label] for w, z in zip(shares, logits, strict=True))
    torch.testing.assert_close(terms["fusion"], dfra_loss(mixture, teacher.logits), rtol=1e-4, atol=1e-6)


def test_of_a_single_stage_the_mixture_is_its_own_logits() -> None:
    method = build(ONE_CELL, VIT)
    terms = method(answer(ONE_CELL), answer(VIT), labels())
    torch.testing.assert_close(terms["fusion"], terms["stages"])


def test_branches_halve_the_grid_and_double_the_channels_as_the_authors_do() -> None:
    student = Shapes(10, ((64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)), 512)
    branches = build(student, Shapes(10, (), 768)).branches
    widths = [
        [conv.out_channels for conv in branch.modules() if isinstance(conv, nn.Conv2d)][3::4] for branch in branches
    ]
    assert widths == [[128, 256, 768], [256, 768], [768], []]
    deepest = branches[-1][0]
    assert (deepest.in_channels, deepest.out_channels, deepest.bias) == (512, 768, None)
    assert all(branch[-1].in_features == 768 for branch in branches)


def test_widths_are_by_the_networks_unless_they_are_given() -> None:
    def widths(method: Any) -> tuple[int, int, int]:
        return method.branches[0][-1].in_features, method.gate[0].in_features, method.gate[0].out_features

    assert widths(build(CNN, VIT)) == (32, 32, 40)
    assert widths(build(VIT, CNN)) == (32, 32, 40)
    assert widths(build(CNN, VIT, width=6, gate_width=7)) == (6, 6, 7)


def test_defaults_are_those_of_the_authors_configurations() -> None:
    method = build()
    assert (method.alpha, method.temperature, method.cross_entropy_weight) == (2.0, 1.0, 1.0)
    assert dict(method.terms) == {"logit": 1.0, "stages": 1.0, "fusion": 1.0}


def test_a_cifar_pair_trains_as_many_parameters_as_the_page_says() -> None:
    names = ("cifar_resnet20", "cifar_resnet56")
    student, teacher = (build_network(name, num_classes=100, image_size=(32, 32)).shapes for name in names)
    method = build_method("mldrkd", Pair(student, teacher, 100))
    assert sum(parameter.numel() for parameter in method.parameters()) == 98_528


@pytest.mark.parametrize(
    ("active", "branches", "gate"),
    [(["logit"], False, False), (["stages"], True, False), (["fusion"], True, True), ([], False, False)],
    ids=str,
)
def test_what_no_active_term_trains_is_frozen(active: list[str], branches: bool, gate: bool) -> None:
    method = build()
    method.restrict_terms(active)
    assert {p.requires_grad for p in method.branches.parameters()} == {branches}
    assert {p.requires_grad for p in method.gate.parameters()} == {gate}
    assert set(method(answer(CNN), answer(VIT), labels())) == set(active)


@pytest.mark.parametrize("student", [CNN, VIT, ONE_CELL, Shapes(10, ((4, 33, 1), (6, 9, 1)), 6)], ids=str)
@pytest.mark.parametrize("teacher", [CNN, VIT], ids=["cnn", "vit"])
def test_any_pair_of_networks_gives_finite_terms_and_gradients(student: Shapes, teacher: Shapes) -> None:
    method = build(student, teacher)
    given = answer(student, images=2, seed=1).apply(lambda t: t.detach().requires_grad_())
    terms = method(given, answer(teacher, images=2, seed=2), labels(2))
    torch.stack(list(terms.values())).sum().backward()
    assert all(value.isfinite() for value in terms.values())
    for tensor in (given.logits, *given.maps, *method.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_descent_on_stages_and_fusion_brings_the_branches_to_the_teacher() -> None:
    method, student, teacher = build(active=["stages", "fusion"]), answer(CNN, 8, seed=1), answer(VIT, 8, seed=2)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    values = []
    for _ in range(40):
        loss = torch.stack(list(method(student, teacher, labels(8)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.3 * values[0]


def test_the_teacher_gives_its_logits_and_nothing_else() -> None:
    method, student, teacher = build(), answer(CNN, seed=1), answer(VIT, seed=2)
    bare = Outputs(teacher.logits, (), torch.full((4, 24), torch.nan))
    for name, value in method(student, teacher, labels()).items():
        assert torch.equal(value, method(student, bare, labels())[name])


def test_a_student_without_maps_one_image_and_other_classes_are_refused_in_words() -> None:
    with pytest.raises(ModelError, match="the student gives no feature maps"):
        build(Shapes(10, (), 4), VIT)
    with pytest.raises(ConfigError, match="MLDR-KD, which relates the images of a batch, needs at least 2 images"):
        build()(answer(CNN, 1), answer(VIT, 1), labels(1))
    with pytest.raises(ModelError, match=r"logits of student and teacher must have one shape, got \(4, 10\)"):
        build()(answer(CNN), Outputs(F.one_hot(torch.arange(4)).float(), (), torch.zeros(4, 24)), labels())
    with pytest.raises(ConfigError, match=r"temperature must be greater than 0, got 0\.0"):
        dfra_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0)


@pytest.mark.parametrize("options", [{"alpha": 0.0, "temperature": 4.0}, {"width": 5, "gate_width": 3}], ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(MLDRKD, options)
