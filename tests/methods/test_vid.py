"""Variational information distillation: the authors' values, trained variances, and any pair of networks."""

from __future__ import annotations

import pytest
import torch
from map_pairs import (
    CNN,
    EACH_PAIR,
    VIT,
    answer,
    check_close,
    check_learning,
    check_recipe,
    golden_answers,
    labels,
    load_golden,
    make_pair,
    run,
)
from torch.nn import functional as F

from dropkd.contracts import Pair
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError
from dropkd.functional import vid_variance
from dropkd.methods import build_method
from dropkd.methods.vid import VID
from dropkd.models import build_network
from dropkd.testing import check_method


def test_values_and_gradients_are_those_of_the_authors_code() -> None:
    arrays = load_golden("vid_f64")
    student, teacher = golden_answers(arrays)
    method = VID(Pair(student.shapes, teacher.shapes, 2)).double()
    given = {key[len("par_") :]: value for key, value in arrays.items() if key.startswith("par_")}
    # The authors' regressor is our mean; their names end in its layers' numbers.
    names = {f"reg_{n}__weight": f"predictors.0.mean.{n}.weight" for n in (0, 2, 4)}
    names["log_scale"] = "predictors.0.log_scale"
    method.load_state_dict({names[key]: value for key, value in given.items()})
    loss = method(student, teacher, labels())["information"]
    check_close("vid_f64", loss, arrays["out_loss"])
    loss.backward()
    check_close("vid_f64", student.maps[0].grad, arrays["grad_loss_wrt_student"])
    parameters = dict(method.named_parameters())
    for key, name in names.items():
        check_close("vid_f64", parameters[name].grad, arrays[f"grad_loss_wrt_{key}"])


@EACH_PAIR
def test_any_pair_teaches(pair: Pair) -> None:
    check_learning(VID(pair))
    check_learning(VID(pair), images=1)


def test_it_is_the_negative_log_likelihood_of_a_normal_distribution_on_the_common_grid() -> None:
    method = VID(make_pair(CNN, VIT), stages="deepest")
    terms, student, teacher = run(method)
    predictor, goal = method.predictors[0], F.adaptive_avg_pool2d(teacher.maps[-1], 4)
    normal = torch.distributions.Normal(
        predictor.mean(student.maps[-1]), vid_variance(predictor.log_scale).sqrt()[:, None, None]
    )
    constant = torch.tensor(2 * torch.pi).log() / 2
    torch.testing.assert_close(terms["information"], -normal.log_prob(goal).mean() - constant)


def test_stages_are_summed_from_the_deep_end() -> None:
    method = VID(make_pair(CNN, VIT))
    student, teacher = answer(method.pair.student, seed=1), answer(method.pair.teacher, seed=2)
    total = method(student, teacher, labels())["information"]
    parts = []
    for number, predictor in enumerate(method.predictors, start=1):
        one = VID(make_pair([CNN[-number]], [VIT[-number]]))
        one.predictors[0].load_state_dict(predictor.state_dict())
        maps = [side._replace(maps=side.maps[-number:][:1]) for side in (student, teacher)]
        parts.append(one(*maps, labels())["information"])
    torch.testing.assert_close(total, torch.stack(parts).sum())
    assert [len(VID(make_pair(CNN, VIT), stages=s).predictors) for s in ("all", "deepest", 2)] == [3, 1, 2]


def test_a_step_changes_every_parameter_the_variances_among_them() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=3, image_size=(16, 16)) for n in (8, 14))
    distiller = Distiller(student, teacher, "vid").train()
    before = {name: value.clone() for name, value in distiller.named_parameters()}
    assert sum("log_scale" in name for name in before) == len(distiller.method.predictors)
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.05)
    distiller(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])).loss.backward()
    optimizer.step()
    assert [name for name, value in distiller.named_parameters() if torch.equal(value, before[name])] == []


def test_the_best_variance_of_a_channel_is_its_mean_squared_error() -> None:
    method = VID(make_pair([(4, 3, 3)], [(5, 3, 3)]))
    student, teacher = answer(method.pair.student, seed=1), answer(method.pair.teacher, seed=2)
    predictor = method.predictors[0]
    error = (predictor.mean(student.maps[0]) - teacher.maps[0]).square().mean(dim=(0, 2, 3)).detach()
    with torch.no_grad():
        predictor.log_scale.copy_((error - 1e-5).expm1().log())
    method(student, teacher, labels())["information"].backward()
    assert predictor.log_scale.grad.abs().max() < 1e-6


@pytest.mark.parametrize("variance", [0.001, 5.0, 1000.0])
def test_variances_start_where_the_option_says_and_are_saved(variance: float) -> None:
    method = build_method("vid", make_pair(CNN, VIT), {"initial_variance": variance})
    for predictor in method.predictors:
        found = vid_variance(predictor.log_scale)
        torch.testing.assert_close(found, torch.full((20,), variance), rtol=1e-3, atol=0.0)
    assert "predictors.0.log_scale" in method.state_dict()


def test_the_published_defaults_are_weight_1_and_variance_5_over_all_stages() -> None:
    method = VID(make_pair(CNN, VIT))
    assert (method.terms, method.cross_entropy_weight) == ({"information": 1.0}, 1.0)
    assert len(method.predictors) == 3
    assert vid_variance(method.predictors[0].log_scale)[0].item() == pytest.approx(5.0)


def test_it_trains_16240_parameters_for_the_benchmarks_pair() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)) for n in (20, 56))
    method = VID(Pair(student.shapes, teacher.shapes, 100))
    assert sum(p.numel() for p in method.parameters()) == 16_240


def test_a_wrong_option_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"method.initial_variance must be a number, at least 0.001, got 0"):
        build_method("vid", make_pair(CNN, VIT), {"initial_variance": 0})


def test_without_its_term_it_computes_nothing_and_trains_nothing() -> None:
    method = VID(make_pair(CNN, VIT))
    method.restrict_terms([])
    assert run(method)[0] == {}
    assert not any(p.requires_grad for p in method.parameters())


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(VID, {"stages": "deepest", "initial_variance": 1.0})


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("vid").method.options == {"initial_variance": 5, "stages": "all"}
