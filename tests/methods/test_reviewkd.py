"""Knowledge review: the authors' values, the fusion against its slow definition, and any pair of networks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    LARGE_CNN,
    MANIFEST,
    ROOT,
    VIT,
    answer,
    check_close,
    golden_cases,
    labels,
    load_golden,
    make_pair,
)
from torch import Tensor
from torch.nn import functional as F

from dropkd.config import load_config
from dropkd.contracts import Outputs, Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.functional import hcl_loss
from dropkd.methods import build_method
from dropkd.methods.review_fusion import Fusion
from dropkd.methods.reviewkd import ReviewKD
from dropkd.models import build_network
from dropkd.testing import check_method


def answer_before(shapes: Shapes, images: int = 3, seed: int = 0) -> Outputs:
    """Return a random answer with maps before and after their last activation, and a trained embedding."""
    given = answer(shapes, images, seed)
    return given._replace(embedding=given.embedding.requires_grad_(), preactivations=given.maps)


def run(method: Any, images: int = 3) -> Tensor:
    student = answer_before(method.pair.student, images, 1)
    teacher = answer_before(method.pair.teacher, images, 2).detach()
    loss: Tensor = method(student, teacher, labels(images))["review"]
    return loss


def fuse_slowly(level: Fusion, feature_map: Tensor, deeper: Tensor | None, grid: Any) -> tuple[Tensor, Tensor]:
    """Return what a level gives, in the order of the authors' definition."""
    x = level.conv1(feature_map)
    if level.att_conv is not None:
        y = F.interpolate(deeper, x.shape[2:], mode="nearest")
        z = torch.sigmoid(level.att_conv(torch.cat((x, y), dim=1)))
        x = x * z[:, :1] + y * z[:, 1:]
    x = F.interpolate(x, grid, mode="nearest")
    return level.conv2(x), x


def load_level(level: Fusion, arrays: dict[str, Tensor], prefix: str = "par_") -> None:
    given = {key[len(prefix) :].replace("__", "."): value for key, value in arrays.items() if key.startswith(prefix)}
    missing, unexpected = level.load_state_dict(given, strict=False)
    assert not unexpected
    assert all("running" in key or "num_batches" in key for key in missing)


@pytest.mark.parametrize("name", golden_cases("ReviewKD-ABF"))
def test_a_level_gives_the_values_and_gradients_of_the_authors_code(name: str) -> None:
    arrays, hyper = load_golden(name), MANIFEST[name]["hyper"]
    widths = (hyper["in_channel"], hyper["mid_channel"], hyper["out_channel"])
    level = Fusion(*widths, deepest=not hyper["fuse"]).to(arrays["in_student"].dtype)
    load_level(level, arrays)
    level.train(hyper["batchnorm"].startswith("train"))
    student = arrays["in_student"].requires_grad_()
    residual = arrays["in_residual"].requires_grad_() if "in_residual" in arrays else None
    predicted, result = level(student, residual, (hyper["out_shape"],) * 2)
    loss = hcl_loss([predicted], [arrays["in_target"]])
    loss.backward()
    for found, key in ((predicted, "out_feature"), (result, "out_residual"), (loss, "loss")):
        check_close(name, found.detach(), arrays[f"out_{key}"])
    leaves = dict(level.named_parameters()) | {"student": student, "residual": residual}
    gradients = [key for key in arrays if key.startswith("grad_loss_wrt_")]
    assert len(gradients) == len(leaves) - (residual is None)
    for key in gradients:
        leaf = leaves[key[len("grad_loss_wrt_") :].replace("__", ".")]
        check_close(name, leaf.grad, arrays[key])


def golden_side(arrays: dict[str, Tensor], side: str, logits: Tensor) -> Outputs:
    """Return the answer of one network in the golden case; its stem's map is not among a network's maps."""
    maps = tuple(arrays[f"in_{side}{n}"].clone().requires_grad_() for n in (1, 2, 3))
    return Outputs(logits, maps, arrays[f"in_{side}4"].clone().requires_grad_(), preactivations=maps)


def test_the_whole_loss_is_that_of_the_authors_code_in_epoch_5() -> None:
    name = "reviewkd_full_f64_epoch5"
    arrays, hyper = load_golden(name), MANIFEST[name]["hyper"]
    student, teacher = (golden_side(arrays, side, arrays["in_student_logits"]) for side in ("student", "teacher"))
    method = ReviewKD(Pair(student.shapes, teacher.shapes, 7)).double()
    for number, level in enumerate(method.levels):
        load_level(level, arrays, f"par_abfs_{number}__")
    loss = method(student, teacher, labels())["review"]
    assert (hyper["epoch"], hyper["kd_weight"]) == (5, 5.0)
    weighted = loss * hyper["kd_weight"] * hyper["epoch"] / method.warmup_of("review")
    check_close(name, weighted, arrays["out_loss"])
    weighted.backward()
    leaves = {f"student{n}": m for n, m in enumerate((*student.maps, student.embedding), start=1)}
    for number, level in enumerate(method.levels):
        leaves |= {f"abfs_{number}.{key}": parameter for key, parameter in level.named_parameters()}
    for key in (key for key in arrays if key.startswith("grad_loss_wrt_")):
        check_close(name, leaves[key[len("grad_loss_wrt_") :].replace("__", ".")].grad, arrays[key])


GRIDS = [
    ((8, 8), (4, 4), (8, 8)),
    ((8, 8), (1, 1), (16, 16)),
    ((7, 7), (7, 7), (14, 14)),
    ((7, 5), (3, 4), (10, 2)),
    ((6, 4), (2, 4), (3, 3)),
    ((2, 2), (4, 4), (1, 1)),
    ((1, 1), (1, 1), (5, 4)),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("own", "deeper", "target"), GRIDS)
def test_a_level_is_its_slow_definition_on_any_grids(own: Any, deeper: Any, target: Any, training: bool) -> None:
    torch.manual_seed(0)
    level, slow = (Fusion(5, 6, 7, deepest=False).double() for _ in range(2))
    for key, value in level.state_dict().items():
        if value.is_floating_point():
            level.state_dict()[key].copy_(torch.rand_like(value) + 0.5)
    slow.load_state_dict(level.state_dict())
    inputs = [torch.randn(3, 5, *own).double() + 2, torch.randn(3, 6, *deeper).double()]
    results = []
    for module, function in ((level, level), (slow, lambda *args: fuse_slowly(slow, *args))):
        module.train(training)
        leaves = [value.clone().requires_grad_() for value in inputs]
        predicted, result = function(*leaves, target)
        (predicted.square().sum() + result.sin().sum()).backward()
        gradients = [value.grad for value in (*leaves, *module.parameters())]
        results.append([predicted, result, *gradients, *module.state_dict().values()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_the_gradients_of_a_level_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    level = Fusion(2, 3, 2, deepest=False).double()
    inputs = [torch.randn(2, *shape, dtype=torch.float64).requires_grad_() for shape in ((2, 4, 2), (3, 2, 1))]
    assert torch.autograd.gradcheck(lambda *maps: level(*maps, (4, 2))[0], inputs, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_features_far_from_0_are_normalised_as_exactly_as_by_batch_norm(offset: float) -> None:
    torch.manual_seed(0)
    level = Fusion(5, 6, 7, deepest=False)
    inputs = torch.randn(4, 5, 8, 8) + offset, torch.randn(4, 6, 4, 4)
    expected, _ = fuse_slowly(level.double(), *(value.double() for value in inputs), (8, 8))
    predicted, _ = level.float()(*inputs, (8, 8))
    torch.testing.assert_close(predicted, expected.float(), rtol=2e-3, atol=2e-4)


def test_channels_that_do_not_vary_give_finite_values_and_gradients() -> None:
    level = Fusion(5, 6, 7, deepest=False)
    inputs = torch.full((2, 5, 1, 1), 1000.0).requires_grad_(), torch.randn(2, 6, 1, 1)
    predicted, _ = level(*inputs, (1, 1))
    predicted.square().sum().backward()
    assert predicted.isfinite().all()
    assert inputs[0].grad.isfinite().all()


def test_the_memory_layout_changes_nothing() -> None:
    torch.manual_seed(0)
    level = Fusion(5, 6, 7, deepest=False)
    inputs = torch.randn(2, 5, 8, 8), torch.randn(2, 6, 4, 4)
    expected, _ = level(*inputs, (8, 8))
    level.to(memory_format=torch.channels_last)
    predicted, _ = level(*(value.to(memory_format=torch.channels_last) for value in inputs), (8, 8))
    assert predicted.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-5)


def test_levels_go_from_the_embedding_to_the_shallowest_stage_and_each_hands_its_result_on() -> None:
    method = ReviewKD(make_pair(CNN, LARGE_CNN))
    student, teacher = answer_before(method.pair.student, seed=1), answer_before(method.pair.teacher, seed=2)
    loss = method(student, teacher, labels())["review"]
    ours = [student.embedding[:, :, None, None], *student.maps[::-1]]
    theirs = [teacher.embedding[:, :, None, None], *teacher.preactivations[:0:-1]]
    total, deeper = torch.zeros(()), None
    for level, own, goal in zip(method.levels, ours, theirs, strict=True):
        predicted, deeper = fuse_slowly(level, own, deeper, goal.shape[2:])
        total = total + hcl_loss([predicted], [goal])
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-5)


@EACH_PAIR
def test_any_pair_teaches(pair: Pair) -> None:
    method = ReviewKD(pair)
    student, teacher = answer_before(pair.student, seed=1), answer_before(pair.teacher, seed=2)
    method(student, teacher, labels())["review"].backward()
    for tensor in (*student.maps[-len(method.stages) :], student.embedding):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()
    assert all(tensor.grad is None for tensor in (*teacher.maps, teacher.embedding))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_a_step_brings_the_student_nearer_to_the_teacher() -> None:
    method = ReviewKD(make_pair(VIT, LARGE_CNN))
    student, teacher = answer_before(method.pair.student, 4, 1), answer_before(method.pair.teacher, 4, 2)
    optimizer = torch.optim.Adam([*student.maps, student.embedding, *method.parameters()], lr=0.01)
    history = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = method(student, teacher, labels(4))["review"]
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-3:]) < 0.8 * history[0]


@pytest.mark.parametrize(("choice", "field"), [("after", "maps"), ("before", "preactivations")])
def test_the_students_maps_are_read_before_or_after_their_activation(choice: Any, field: str) -> None:
    method = ReviewKD(make_pair(CNN, VIT), student_maps=choice)
    assert method.student_reads == {field, "embedding"}
    student, teacher = answer_before(method.pair.student), answer_before(method.pair.teacher, seed=2)
    other = {"maps", "preactivations"} - {field}
    unread = student._replace(**{name: tuple(m * float("nan") for m in student.maps) for name in other})
    assert torch.equal(method(unread, teacher, labels())["review"], method(student, teacher, labels())["review"])


def test_a_network_is_asked_for_the_maps_that_the_option_names() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=10, image_size=(32, 32)) for n in (8, 14))
    losses = []
    for choice in ("after", "before"):
        torch.manual_seed(0)
        distiller = Distiller(student, teacher, "reviewkd", options={"student_maps": choice})
        losses.append(distiller(torch.ones(2, 3, 32, 32).tril(), torch.arange(2)).raw["review"])
    assert all(loss.isfinite() for loss in losses)
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("embedding", "width", "expected"), [(64, None, 64), (1280, None, 512), (1280, 256, 256), (64, 100, 100)]
)
def test_the_width_is_that_of_the_embedding_up_to_512_unless_it_is_given(
    embedding: int, width: int | None, expected: int
) -> None:
    student = Shapes(10, ((8, 4, 4), (16, 2, 2)), embedding)
    method = ReviewKD(Pair(student, student, 10), width=width)
    assert {level.conv1[0].out_channels for level in method.levels} == {expected}


def test_a_batch_of_one_image_is_refused_in_training_and_fine_in_evaluation() -> None:
    method = ReviewKD(make_pair(CNN, VIT))
    assert ReviewKD.least_batch == 2
    with pytest.raises(ConfigError, match=re.escape("ReviewKD needs at least 2 images in a batch, got 1.")):
        run(method, images=1)
    assert run(method.eval(), images=1).isfinite()


def test_evaluation_changes_no_statistics_and_training_does() -> None:
    method = ReviewKD(make_pair(CNN, VIT))
    before = {key: value.clone() for key, value in method.state_dict().items()}
    run(method.eval())
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    run(method.train())
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if "running" in key or "num_batches" in key}


def test_its_weight_is_1_and_rises_over_20_epochs() -> None:
    assert ReviewKD.terms == {"review": 1.0}
    assert ReviewKD(make_pair(CNN, VIT)).warmup_of("review") == 20


def test_the_weight_of_the_recipe_is_that_published_for_its_pair() -> None:
    config = load_config(ROOT / "recipes" / "methods" / "reviewkd.yaml")
    assert config.method.weights == {"cross_entropy": 1.0, "review": 0.6}
    assert (config.method.name, config.method.warmup_epochs) == ("reviewkd", 20)
    assert config.method.options == {"width": 64, "student_maps": "after"}
    training, teacher = config.training, config.teacher
    assert (config.student.name, teacher and teacher.source) == ("cifar_resnet20", "cifar_resnet56:cifar_resnet56.pth")
    assert (training.epochs, training.batch_size, training.lr, training.nesterov) == (240, 64, 0.05, False)
    assert (training.schedule, training.milestones) == ("step", [150, 180, 210])


def test_it_trains_as_many_parameters_as_its_docstring_says() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)) for n in (20, 56))
    method = build_method("reviewkd", Pair(student.shapes, teacher.shapes, 100), {})
    count = sum(parameter.numel() for parameter in method.parameters())
    assert f"{count:,} parameters for cifar_resnet56 -> cifar_resnet20" in " ".join((ReviewKD.__doc__ or "").split())


@pytest.mark.parametrize("options", [{"student_maps": "before"}, {"width": 5}], ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(ReviewKD, options)
