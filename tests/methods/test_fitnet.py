"""FitNet: the authors' values, the regressor between any two grids, and any pair of networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    LARGE_CNN,
    MANIFEST,
    VIT,
    Maps,
    answer,
    check_close,
    check_learning,
    check_recipe,
    golden_cases,
    labels,
    load_golden,
    make_pair,
    run,
)
from torch import nn
from torch.nn import functional as F

from dropkd.contracts import Pair
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.methods import build_method
from dropkd.methods.fitnet import FitNet, Regressor
from dropkd.models import build_network
from dropkd.testing import check_method


@pytest.mark.parametrize("name", golden_cases("FitNet"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    arrays, hyper = load_golden(name), MANIFEST[name]["hyper"]
    student, teacher = arrays["in_student"].clone().requires_grad_(), arrays["in_teacher"]
    regressor = Regressor(tuple(student.shape[1:]), tuple(teacher.shape[1:]), relu=hyper["use_relu"]).to(student.dtype)
    given = {key[len("par_") :].replace("__", "."): value for key, value in arrays.items() if key.startswith("par_")}
    missing = regressor.load_state_dict(given, strict=False)
    assert all("running" in key or "tracked" in key for key in missing.missing_keys)
    assert not missing.unexpected_keys
    predicted = regressor.train(hyper["batchnorm"] == "train")(student)
    loss = F.mse_loss(predicted, teacher)
    check_close(name, predicted, arrays["out_projected"])
    check_close(name, loss, arrays["out_loss"])
    loss.backward()
    check_close(name, student.grad, arrays["grad_loss_wrt_student"])
    for key, parameter in regressor.named_parameters():
        check_close(name, parameter.grad, arrays[f"grad_loss_wrt_{key.replace('.', '__')}"])


def test_the_whole_method_gives_the_loss_of_the_authors_code() -> None:
    name = "fitnet_f64_stride2"
    arrays = load_golden(name)
    method = FitNet(make_pair([(4, 8, 8)], [(7, 4, 4)]), activation="relu").double()
    given = {f"regressor.{k[4:].replace('__', '.')}": v for k, v in arrays.items() if k.startswith("par_")}
    method.load_state_dict(given, strict=False)
    student, teacher = (answer(s).apply(torch.Tensor.double) for s in (method.pair.student, method.pair.teacher))
    maps = (arrays["in_student"],), (arrays["in_teacher"],)
    loss = method(student._replace(maps=maps[0]), teacher._replace(maps=maps[1]), labels())["hint"]
    check_close(name, loss, arrays["out_loss"])


@EACH_PAIR
@pytest.mark.parametrize("hint", ["middle", "deepest"])
def test_any_pair_teaches(pair: Pair, hint: str) -> None:
    check_learning(FitNet(pair, hint=hint))  # type: ignore[arg-type]
    terms, _, _ = run(FitNet(pair, hint=hint), images=1)  # type: ignore[arg-type]
    assert terms["hint"].isfinite()


@pytest.mark.parametrize(
    ("student", "teacher", "layer", "kernel", "resizes"),
    [
        ((8, 8), (8, 8), nn.Conv2d, (1, 1), False),
        ((8, 8), (4, 4), nn.Conv2d, (3, 3), False),
        ((2, 1), (4, 2), nn.ConvTranspose2d, (4, 4), False),
        ((16, 16), (14, 14), nn.Conv2d, (3, 3), False),
        ((7, 7), (4, 4), nn.Conv2d, (4, 4), False),
        ((8, 7), (4, 4), nn.Conv2d, (5, 4), False),
        ((4, 3), (4, 1), nn.Conv2d, (1, 3), False),
        ((9, 9), (4, 4), nn.Conv2d, (1, 1), True),
        ((56, 56), (7, 7), nn.Conv2d, (1, 1), True),
        ((7, 7), (16, 16), nn.Conv2d, (1, 1), True),
        ((8, 7), (7, 8), nn.Conv2d, (1, 1), True),
        ((1, 1), (7, 7), nn.Conv2d, (1, 1), True),
    ],
)
def test_the_convolution_is_the_published_one_where_it_stays_small_and_else_follows_a_resize(
    student: tuple[int, int], teacher: tuple[int, int], layer: type[nn.Module], kernel: tuple[int, int], resizes: bool
) -> None:
    regressor = Regressor((3, *student), (5, *teacher))
    assert type(regressor.conv) is layer
    assert (regressor.conv.kernel_size, regressor.resizes) == (kernel, resizes)
    assert regressor.conv.bias is not None
    assert regressor(torch.randn(2, 3, *student)).shape == (2, 5, *teacher)


@pytest.mark.parametrize(
    ("student", "teacher"), [((9, 9), (4, 4)), ((7, 7), (16, 16)), ((8, 7), (7, 8)), ((3, 20), (9, 5))], ids=str
)
def test_a_resized_map_is_averaged_where_it_is_larger_and_interpolated_where_it_is_smaller(
    student: tuple[int, int], teacher: tuple[int, int]
) -> None:
    regressor = Regressor((2, *student), (2, *teacher), relu=False).eval()
    with torch.no_grad():
        regressor.conv.weight.copy_(torch.eye(2)[:, :, None, None])
        regressor.conv.bias.zero_()
    # Both keep a plane that rises evenly: its mean, its direction, and within its range.
    rows, columns = torch.meshgrid(torch.linspace(0, 1, student[0]), torch.linspace(0, 1, student[1]), indexing="ij")
    found = regressor(torch.stack((rows, columns))[None])
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.tensor([0.5, 0.5]), rtol=1e-3, atol=1e-3)
    assert (found[0, 0].diff(dim=0) >= 0).all()
    assert (found[0, 1].diff(dim=1) >= 0).all()
    assert found[0, 0].diff(dim=1).abs().max() < 1e-5
    assert found.min() >= 0


@pytest.mark.parametrize(
    ("student", "teacher", "number"),
    [
        (CNN, CNN, 2),
        (LARGE_CNN, LARGE_CNN, 3),
        (CNN, LARGE_CNN, 2),
        (VIT[:2], VIT, 2),
        (VIT[:1], CNN, 1),
        (VIT * 3, VIT * 3, 7),
    ],
    ids=["three", "four", "three of four", "two", "one", "twelve"],
)
def test_the_middle_is_the_second_of_three_and_of_four_stages(student: Maps, teacher: Maps, number: int) -> None:
    stage = FitNet(make_pair(student, teacher)).stage
    assert (stage.student, stage.teacher) == (student[-number], teacher[-number])
    for hint, place in (("deepest", 1), (1, 1)):
        assert FitNet(make_pair(student, teacher), hint=hint).stage.number == place  # type: ignore[arg-type]


def test_the_benchmarks_pair_is_hinted_in_its_second_stage_by_1120_parameters() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)) for n in (20, 56))
    method = FitNet(Pair(student.shapes, teacher.shapes, 100))
    assert (method.stage.student, method.stage.teacher) == ((32, 16, 16), (32, 16, 16))
    assert sum(p.numel() for p in method.parameters()) == 1_120


def test_the_term_is_the_mean_squared_difference_of_the_hinted_maps() -> None:
    method = FitNet(make_pair(CNN, LARGE_CNN), hint=1)
    terms, student, teacher = run(method)
    # In training mode the running statistics have no effect on the value.
    expected = (method.regressor(student.maps[-1]) - teacher.maps[-1]).square().mean()
    torch.testing.assert_close(terms["hint"], expected)


def test_a_relu_ends_the_regressor_only_where_the_teacher_has_no_negative_values() -> None:
    pair = make_pair(CNN, CNN)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    positive = teacher._replace(maps=tuple(m.relu() for m in teacher.maps))
    found: dict[str, list[float]] = {}
    for activation in ("auto", "relu", "none"):
        torch.manual_seed(0)
        method = FitNet(pair, activation=activation)  # type: ignore[arg-type]
        found[activation] = [method(student, side, labels())["hint"].item() for side in (positive, teacher)]
    assert found["auto"] == [found["relu"][0], found["none"][1]]
    assert found["relu"] != found["none"]


def test_one_image_on_a_grid_of_one_cell_is_normalised_by_the_batches_before() -> None:
    method = FitNet(make_pair([(4, 1, 1)], [(5, 1, 1)]), activation="none")
    run(method, images=8)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    alone, student, teacher = run(method, images=1)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert torch.equal(alone["hint"], method.eval()(student, teacher, labels(1))["hint"])
    alone["hint"].backward()
    assert student.maps[0].grad.count_nonzero()


def test_a_step_changes_every_parameter_and_the_running_statistics_are_saved() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=3, image_size=(16, 16)) for n in (8, 14))
    distiller = Distiller(student, teacher, "fitnet").train()
    before = {name: value.clone() for name, value in distiller.method.state_dict().items()}
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.05)
    images, target = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    # In front of a batch norm a bias is without effect, so that only rounding moves it in the first step.
    for _ in range(2):
        distiller(images, target).loss.backward()
        optimizer.step()
    same = [name for name, value in distiller.method.state_dict().items() if torch.equal(value, before[name])]
    assert same == []
    assert "regressor.bn.running_mean" in before


def test_the_published_weight_is_100() -> None:
    method = FitNet(make_pair(CNN, VIT))
    assert (method.terms, method.cross_entropy_weight) == ({"hint": 100.0}, 1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hint": 4}, "method.hint is 4, but the networks have only 3 feature maps in common"),
        ({"hint": 0}, "method.hint must be one of 'middle', 'deepest' or a whole number, at least 1, got 0"),
        ({"activation": "gelu"}, "method.activation must be one of 'auto', 'relu', 'none', got 'gelu'"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_method("fitnet", make_pair(CNN, VIT), options)
    assert words in str(caught.value)


def test_without_its_term_it_computes_nothing_and_trains_nothing() -> None:
    method = FitNet(make_pair(CNN, VIT))
    method.restrict_terms([])
    assert run(method)[0] == {}
    assert not any(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize("options", [{"hint": "deepest", "activation": "relu"}, {"activation": "none"}], ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(FitNet, options)


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("fitnet").method.options == {"hint": "middle", "activation": "relu"}
