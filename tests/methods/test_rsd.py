"""RSD: the authors' numbers, the cases that one can see, and any pair of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import rsd_loss
from dropkd.methods import build_method
from dropkd.methods.rsd import RSD
from dropkd.models import build_network
from dropkd.testing import check_method

GOLDEN = Path(__file__).parents[1] / "golden_later"
LOSSES = ["rsd_f64_b8_d6", "rsd_f64_b5_d3_kappa1", "rsd_f32_b16_d32", "rsd_f64_b6_d4_constant_columns"]
BATCH = Batch(torch.zeros(9, dtype=torch.int64), torch.arange(9))
# Three features that are uncorrelated over four images, each of mean 0 and deviation 1.
ORTHOGONAL = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(student: int = 5, teacher: int = 7, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_method("rsd", Pair(Shapes(4, (), student), Shapes(4, (), teacher), 4), options)


def answer(embedding: Tensor) -> Outputs:
    return Outputs(torch.zeros(len(embedding), 4, dtype=embedding.dtype), (), embedding)


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_the_authors_code(name: str) -> None:
    case = load(name)
    student = case["in_student"].requires_grad_()
    loss = rsd_loss(student, case["in_teacher"], case["hyper_kappa"].item())
    (grad,) = torch.autograd.grad(loss, student)
    close = {"rtol": 1e-10, "atol": 1e-12} if student.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(loss, case["out_loss"], **close)
    torch.testing.assert_close(grad, case["grad_student"], **close)


def test_the_method_is_the_authors_module_with_its_gradients_and_running_statistics() -> None:
    case = load("rsd_module_f64_train")
    method = build().double().train()
    weights = {key[4:].replace("__", "."): value for key, value in case.items() if key.startswith("par_")}
    method.projector.load_state_dict(weights, strict=False)
    student = case["in_student"].requires_grad_()
    terms = method(answer(student), answer(case["in_teacher"]), BATCH)
    weighted = method.terms["redundancy"] * terms["redundancy"]
    torch.testing.assert_close(weighted, case["out_weighted_loss"], rtol=1e-10, atol=1e-12)
    named = dict(method.projector.named_parameters())
    grads = torch.autograd.grad(weighted, [student, *named.values()])
    expected = [case["grad_student"], *(case["grad_par_" + name.replace(".", "__")] for name in named)]
    for found, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(method.projector[1].running_mean, case["out_running_mean"])
    torch.testing.assert_close(method.projector[1].running_var, case["out_running_var"])


def test_features_that_are_equal_and_uncorrelated_give_0() -> None:
    assert rsd_loss(ORTHOGONAL, ORTHOGONAL).item() == pytest.approx(0.0, abs=1e-8)


def test_features_that_go_against_each_other_give_4_each_and_swapped_ones_1_and_kappa() -> None:
    assert rsd_loss(-ORTHOGONAL, ORTHOGONAL).item() == pytest.approx(12.0, rel=1e-4)
    swapped = ORTHOGONAL[:, [1, 0, 2]]
    assert rsd_loss(swapped, ORTHOGONAL, kappa=0.25).item() == pytest.approx(2 + 2 * 0.25, rel=1e-4)


def test_kappa_weighs_what_is_off_the_diagonal_and_nothing_else() -> None:
    student, teacher = draw(8, 5, seed=1), draw(8, 5, seed=2)
    on, whole = rsd_loss(student, teacher, kappa=0.0), rsd_loss(student, teacher, kappa=1.0)
    torch.testing.assert_close(rsd_loss(student, teacher, kappa=0.3), on + 0.3 * (whole - on))
    ours, theirs = ((e - e.mean(0)) / (e.std(0, correction=0) + 1e-5) for e in (student, teacher))
    torch.testing.assert_close(on, ((ours * theirs).mean(0) - 1).square().sum())


def test_each_feature_may_be_moved_and_stretched() -> None:
    student, teacher = draw(8, 5, seed=1), draw(8, 5, seed=2)
    changed = rsd_loss(student * torch.arange(1, 6) + 100, 7 * teacher - 3)
    torch.testing.assert_close(changed, rsd_loss(student, teacher), rtol=1e-4, atol=0.0)


def test_features_may_be_numbered_otherwise_in_both_networks_but_not_in_one() -> None:
    student, teacher, order = draw(8, 5, seed=1), draw(8, 5, seed=2), [3, 0, 4, 1, 2]
    torch.testing.assert_close(rsd_loss(student[:, order], teacher[:, order]), rsd_loss(student, teacher))
    assert rsd_loss(student[:, order], teacher).item() != pytest.approx(rsd_loss(student, teacher).item(), rel=1e-3)


def test_images_that_are_all_alike_give_1_for_each_feature_and_finite_gradients() -> None:
    student = torch.full((4, 3), 0.7, requires_grad=True)
    loss = rsd_loss(student, torch.ones(4, 3))
    (grad,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(3.0)
    assert grad.isfinite().all()


def test_options_reach_the_loss_and_the_projector() -> None:
    student, teacher = draw(9, 5, seed=1).float(), draw(9, 7, seed=2).float()
    method = build(kappa=0.5, expansion=3)
    assert [layer.out_features for layer in method.projector if hasattr(layer, "out_features")] == [15, 7]
    found = method(answer(student), answer(teacher), BATCH)["redundancy"]
    torch.testing.assert_close(found, rsd_loss(method.projector(student), teacher, 0.5))


def test_defaults_are_those_of_the_authors_code() -> None:
    method = build()
    assert (method.kappa, dict(method.terms), method.cross_entropy_weight) == (0.01, {"redundancy": 0.1}, 1.0)
    assert [layer.out_features for layer in method.projector if hasattr(layer, "out_features")] == [10, 7]
    assert 0.015 < method.projector[0].weight.std().item() < 0.025


def test_a_cifar_pair_trains_as_many_parameters_as_the_page_says() -> None:
    names = ("cifar_resnet20", "cifar_resnet56")
    student, teacher = (build_network(name, num_classes=100, image_size=(32, 32)).shapes for name in names)
    method = build_method("rsd", Pair(student, teacher, 100))
    assert sum(parameter.numel() for parameter in method.parameters()) == 16_640


def test_descent_on_the_term_alone_brings_the_embeddings_together() -> None:
    method, teacher = build(student=6, teacher=4), draw(16, 4, seed=2).float()
    embedding = draw(16, 6, seed=1).float()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    batch = Batch(torch.zeros(16, dtype=torch.int64), torch.arange(16))
    values = []
    for _ in range(60):
        loss = method(answer(embedding), answer(teacher), batch)["redundancy"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.2 * values[0]


def test_without_its_term_it_computes_and_trains_nothing() -> None:
    method = build()
    method.restrict_terms([])
    assert method(answer(draw(9, 5)), answer(draw(9, 7)), BATCH) == {}
    assert not any(parameter.requires_grad for parameter in method.parameters())


def test_one_image_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="RSD, which correlates features over images, needs at least 2 images"):
        build()(answer(torch.ones(1, 5)), answer(torch.ones(1, 7)), BATCH)


def test_embeddings_of_other_widths_or_ranks_are_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"embeddings of student and teacher must have one shape, got \(4, 3\)"):
        rsd_loss(torch.ones(4, 3), torch.ones(4, 2))
    with pytest.raises(ModelError, match="embeddings must have 2 dimensions"):
        rsd_loss(torch.ones(4, 3, 1), torch.ones(4, 3, 1))


@pytest.mark.parametrize("options", [{"kappa": 0.0}, {"kappa": 1.0, "expansion": 1}], ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(RSD, options)
