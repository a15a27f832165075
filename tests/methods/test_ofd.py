"""OFD: the authors' values, margins from batch norms and from features, and any pair of networks."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    LARGE_CNN,
    VIT,
    answer,
    check_close,
    check_recipe,
    labels,
    load_golden,
    make_pair,
)
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Outputs, Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.functional import ofd_loss, ofd_margin
from dropkd.methods import build_method
from dropkd.methods.ofd import OFD, Connector
from dropkd.methods.stages import StagePair
from dropkd.models import build_network
from dropkd.testing import check_method

ONE_CELL = make_pair(((4, 2, 2), (6, 1, 1)), ((5, 4, 4), (7, 2, 2)))


def answer_before(shapes: Shapes, images: int = 3, seed: int = 0) -> Outputs:
    """Return a random answer of which only the maps before their activation can be read."""
    given = answer(shapes, images, seed)
    return given._replace(preactivations=given.maps, maps=())


def run(method: Any, images: int = 3, seed: int = 2) -> Tensor:
    student = answer_before(method.pair.student, images, 1)
    teacher = answer_before(method.pair.teacher, images, seed).detach()
    loss: Tensor = method(student, teacher, labels(images))["feature"]
    return loss


def with_norms(pair: Pair) -> Pair:
    assert pair.teacher
    source = torch.Generator().manual_seed(0)
    norms = [[torch.randn(shape[0], generator=source) for _ in range(2)] for shape in pair.teacher.maps]
    return replace(pair, teacher_norms=tuple((weight, bias) for weight, bias in norms))


def test_values_and_gradients_are_those_of_the_authors_code() -> None:
    arrays = load_golden("ofd_f64")
    projected, teacher = arrays["in_student"].requires_grad_(), arrays["in_teacher"]
    shapes = Shapes(2, ((5, 4, 4),), 5)
    norm = (arrays["in_bn_weight"].float(), arrays["in_bn_bias"].float())
    method = OFD(Pair(shapes, shapes, 2, teacher_norms=(norm,)))
    check_close("ofd_f64", method.connectors[0].margin, arrays["out_margin_from_bn"].float())
    method.double().eval()
    # A connector that changes nothing: the case gives the map after it.
    method.connectors[0].conv.weight.data.copy_(
        torch.eye(5).double()[:, :, None, None] * math.sqrt(1 + method.connectors[0].bn.eps)
    )
    method.connectors[0].margin.copy_(arrays["in_margin"].flatten())
    empty = teacher.new_zeros(4, 2)
    sides = [Outputs(empty, (), empty, preactivations=(m,)) for m in (projected, teacher)]
    loss = method(*sides, labels(4))["feature"]
    check_close("ofd_f64", loss, arrays["out_loss"])
    loss.backward()
    check_close("ofd_f64", projected.grad, arrays["grad_loss_wrt_student"])


def test_the_whole_term_is_the_definition_with_half_the_weight_for_each_stage_further_up() -> None:
    method = OFD(with_norms(make_pair(CNN, LARGE_CNN))).double()
    student, teacher = (
        side.apply(torch.Tensor.double)
        for side in (answer_before(method.pair.student, seed=1), answer_before(method.pair.teacher, seed=2))
    )
    expected = 0.0
    for number in (1, 2, 3):
        theirs = F.adaptive_avg_pool2d(teacher.preactivations[-number], student.preactivations[-number].shape[2:])
        connector = method.connectors[number - 1]
        s = connector.bn(connector.conv(student.preactivations[-number]))
        weight, bias = (value.double() for value in method.pair.teacher_norms[-number])
        for channel in range(theirs.shape[1]):
            normal = torch.distributions.Normal(bias[channel], weight[channel].abs())
            below = normal.cdf(torch.zeros(()))
            density = normal.log_prob(torch.zeros(())).exp()
            margin = (
                bias[channel] - weight[channel].square() * density / below
                if below > 0.001
                else -3 * weight[channel].abs()
            )
            t = theirs[:, channel].maximum(margin)
            gap = torch.where((s[:, channel] <= t) & (t <= 0), 0.0, s[:, channel] - t)
            expected = expected + gap.square().sum() / 3 / 2 ** (number - 1)
    loss = method(student, teacher, labels())["feature"]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_margins_of_a_teacher_without_norms_are_the_means_of_its_negative_values_in_the_first_batch() -> None:
    method = OFD(make_pair(CNN, VIT), stages="deepest")
    connector, teacher = method.connectors[0], answer_before(method.pair.teacher, seed=2).preactivations[-1]
    assert not connector.is_known
    run(method)
    assert connector.is_known
    for channel in range(20):
        values = teacher[:, channel]
        torch.testing.assert_close(connector.margin[channel], values[values < 0].mean())


def test_margins_stay_those_of_the_first_batch_and_are_saved() -> None:
    method = OFD(make_pair(CNN, VIT))
    run(method, seed=2)
    first = [connector.margin.clone() for connector in method.connectors]
    other = OFD(method.pair)
    other.load_state_dict(method.state_dict())
    for later in (method, other):
        run(later, seed=3)
        for connector, margin in zip(later.connectors, first, strict=True):
            assert torch.equal(connector.margin, margin)


def test_channels_with_hardly_a_negative_value_have_a_margin_of_minus_3_deviations() -> None:
    method = OFD(make_pair([(4, 32, 32)], [(2, 32, 32)]))
    teacher = torch.rand(2, 2, 32, 32) + 1
    teacher[0, 0, 0, :2] = -5.0  # two of 2,048 are less than one in a thousand
    teacher[0, 1, 0, :3] = -5.0  # three are not
    found = method.connectors[0].find_margin(teacher)
    torch.testing.assert_close(found, torch.stack([-3 * teacher[:, 0].std(correction=0), torch.tensor(-5.0)]))


def test_margins_come_from_the_norm_of_each_stage_where_there_is_one() -> None:
    pair = with_norms(make_pair(CNN, LARGE_CNN))
    norms = [*pair.teacher_norms[:2], None, pair.teacher_norms[3]]
    method = OFD(replace(pair, teacher_norms=tuple(norms)))
    assert [connector.is_known.item() for connector in method.connectors] == [True, False, True]
    for number in (1, 3):
        assert torch.equal(method.connectors[number - 1].margin, ofd_margin(*norms[-number]))
    known = method.connectors[0].margin.clone()
    run(method)
    assert torch.equal(method.connectors[0].margin, known)


def test_a_network_hands_its_norms_and_its_maps_before_the_activation_to_the_method() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=10, image_size=(32, 32)) for n in (8, 14))
    torch.manual_seed(0)
    distiller = Distiller(student, teacher, "ofd")
    deepest = teacher.model.layer3[-1].bn2
    assert torch.equal(distiller.method.connectors[0].margin, ofd_margin(deepest.weight, deepest.bias))
    images = torch.rand(4, 3, 32, 32)
    loss = distiller(images, torch.arange(4)).raw["feature"]
    assert any((m < 0).any() for m in teacher(images, preactivations=True).preactivations)
    assert loss.isfinite()


def test_the_larger_map_is_pooled_whichever_it_is() -> None:
    for student_side, teacher_side in ((8, 4), (4, 8)):
        method = OFD(with_norms(make_pair([(3, student_side, student_side)], [(5, teacher_side, teacher_side)])))
        student, teacher = answer_before(method.pair.student, seed=1), answer_before(method.pair.teacher, seed=2)
        maps = [F.adaptive_avg_pool2d(side.preactivations[0], 4) for side in (student, teacher)]
        connector = method.connectors[0]
        expected = ofd_loss(connector.bn(connector.conv(maps[0])), maps[1], connector.margin)
        torch.testing.assert_close(method(student, teacher, labels())["feature"], expected)


@EACH_PAIR
@pytest.mark.parametrize("norms", [True, False])
def test_any_pair_teaches(pair: Pair, norms: bool) -> None:
    method = OFD(with_norms(pair) if norms else pair)
    student, teacher = answer_before(pair.student, seed=1), answer_before(pair.teacher, seed=2)
    method(student, teacher, labels())["feature"].backward()
    for feature_map in student.preactivations[-len(method.stages) :]:
        assert feature_map.grad.isfinite().all()
        assert feature_map.grad.any()
    assert all(feature_map.grad is None for feature_map in teacher.preactivations)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_stages_are_chosen_from_the_deep_end() -> None:
    pair = make_pair(CNN, LARGE_CNN)
    for stages, count in (("all", 3), ("deepest", 1), (2, 2)):
        method = OFD(pair, stages=stages)
        assert [c.conv.in_channels for c in method.connectors] == [24, 16, 8][:count]
        assert [c.conv.out_channels for c in method.connectors] == [32, 16, 12][:count]


def test_connectors_start_by_the_teachers_width() -> None:
    connector = OFD(make_pair([(64, 4, 4)], [(400, 4, 4)])).connectors[0]
    assert connector.conv.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.05)
    assert connector.conv.bias is None


def test_one_image_is_refused_where_a_grid_has_one_cell_and_only_there() -> None:
    method = OFD(ONE_CELL)
    assert method.least_batch == 2
    with pytest.raises(ConfigError, match="OFD on a grid of one cell needs at least 2 images in a batch, got 1"):
        run(method, images=1)
    assert run(method.eval(), images=1).isfinite()
    other = OFD(make_pair(CNN, VIT))
    assert other.least_batch == 1
    assert run(other, images=1).isfinite()


def test_a_recipe_has_the_weight_of_the_benchmarks() -> None:
    assert OFD.terms == {"feature": 0.001}
    check_recipe("ofd")


def test_it_trains_as_many_parameters_as_its_docstring_says() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)) for n in (20, 56))
    method = build_method("ofd", Pair(student.shapes, teacher.shapes, 100), {})
    count = sum(parameter.numel() for parameter in method.parameters())
    assert f"{count:,} parameters for cifar_resnet56 -> cifar_resnet20" in " ".join((OFD.__doc__ or "").split())


@pytest.mark.parametrize("stages", ["deepest", 2])
def test_it_keeps_the_contract_with_other_stages(stages: Any) -> None:
    check_method(OFD, {"stages": stages})


def test_whether_margins_are_known_is_asked_once_and_again_when_a_state_is_loaded() -> None:
    connector = Connector(StagePair(1, (2, 4, 4), (3, 4, 4)))
    unknown = copy.deepcopy(connector.state_dict())
    first, second = torch.randn(4, 3, 4, 4), torch.randn(4, 3, 4, 4)
    margin = connector.find_margin(first).clone()
    connector.is_known.fill_(False)  # nobody looks
    assert torch.equal(connector.find_margin(second), margin)
    connector.load_state_dict(unknown)
    assert not torch.equal(connector.find_margin(second), margin)
