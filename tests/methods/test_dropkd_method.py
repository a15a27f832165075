"""DropKD: its limiting case, its options, and any pair of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from logit_pairs import check_cifar_training, load_recipe
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import feature_dropout_loss, kd_loss, logit_dropout_loss, standardize_logits
from dropkd.methods import build_method, method_options
from dropkd.methods.dropkd import DropKD
from dropkd.models import build_network

CNN = Shapes(10, ((8, 16, 16), (16, 8, 8), (32, 4, 4)), 32)
VIT = Shapes(10, ((24, 7, 7), (24, 7, 7)), 24)
RATES = ("feature_rate_teacher", "feature_rate_student", "logit_rate_teacher", "logit_rate_student")
NO_DROPOUT: dict[str, Any] = dict.fromkeys(RATES, 0.0)


def answer(shapes: Shapes, images: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> Outputs:
    source = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(images, *shape, generator=source, dtype=dtype) for shape in shapes.maps)
    logits = torch.randn(images, shapes.logits, generator=source, dtype=dtype)
    return Outputs(logits, maps, torch.randn(images, shapes.embedding, generator=source, dtype=dtype))


def labels(images: int = 3, num_classes: int = 10) -> Batch:
    return Batch(torch.arange(images) % num_classes, torch.arange(images))


def build(
    student: Shapes = CNN, teacher: Shapes = VIT, seed: int = 0, active: Sequence[str] = (), **options: Any
) -> Any:
    torch.manual_seed(seed)
    method = build_method("dropkd", Pair(student, teacher, student.logits), options)
    if active:
        method.restrict_terms(active)
    return method


def run(method: Any, seed: int = 0, images: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    student, teacher = answer(method.pair.student, images, 1), answer(method.pair.teacher, images, 2)
    result: dict[str, Tensor] = method(student, teacher, labels(images, method.pair.num_classes))
    return result


def test_without_dropout_reconstruct_and_domain_it_is_kd_and_matching_of_projected_maps() -> None:
    method = build(active=("logit", "feature"), **NO_DROPOUT)
    student, teacher = answer(CNN, seed=1), answer(VIT, seed=2)
    terms = method(student, teacher, labels())
    pooled = F.adaptive_avg_pool2d(teacher.maps[-1], 4)
    encoders = method.projections[0].encoders
    codes = F.normalize(encoders["student"](student.maps[-1]), dim=1), F.normalize(encoders["teacher"](pooled), dim=1)
    assert set(terms) == {"logit", "feature"}
    assert torch.equal(terms["logit"], kd_loss(student.logits, teacher.logits, 2.0))
    torch.testing.assert_close(terms["feature"], (codes[0] - codes[1]).square().sum(dim=1).mean())


def test_at_full_size_the_loss_is_the_weighted_sum_that_the_specification_writes() -> None:
    method = build(reconstruct_sides="both", domain_sides="both", **NO_DROPOUT)
    student, teacher, batch = answer(CNN, seed=1), answer(VIT, seed=2), labels()
    terms = method(student, teacher, batch)
    maps = {"student": student.maps[-1], "teacher": F.adaptive_avg_pool2d(teacher.maps[-1], 4)}
    stage = method.projections[0]
    reconstruct, domain = [], []
    for side, feature_map in maps.items():
        code = stage.encoders[side](feature_map)
        gap = stage.decoders[side](code) - F.normalize(feature_map, dim=1)
        reconstruct.append(gap.square().sum(dim=1).mean())
        domain.append(F.cross_entropy(stage.classifiers[side].linear(code.mean(dim=(2, 3))), batch.target))
    torch.testing.assert_close(terms["reconstruct"], sum(reconstruct))
    torch.testing.assert_close(terms["domain"], sum(domain))


@pytest.mark.parametrize("rate", RATES)
def test_each_rate_changes_its_own_terms_and_no_others(rate: str) -> None:
    plain = run(build(reconstruct_sides="both", domain_sides="both", **NO_DROPOUT))
    dropped = run(build(reconstruct_sides="both", domain_sides="both", **{**NO_DROPOUT, rate: 0.5}))
    changed = {name for name in plain if not torch.equal(plain[name], dropped[name])}
    assert changed == ({"logit"} if rate.startswith("logit") else {"feature", "reconstruct", "domain"})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"masks": "independent", "logit_rate_teacher": 0.2},
        {"center_logits": False},
        {"logit_mode": "remove", "temperature": 2.0},
    ],
    ids=str,
)
def test_the_term_logit_is_the_loss_with_its_options(options: dict[str, Any]) -> None:
    method = build(active=("logit",), **options)
    student, teacher = answer(CNN, seed=1).logits, answer(VIT, seed=2).logits
    torch.manual_seed(7)
    expected = logit_dropout_loss(
        student,
        teacher,
        0.1,
        options.get("logit_rate_teacher", 0.1),
        options.get("temperature", 2.0),
        options.get("masks", "coupled"),
        options.get("logit_mode", "zero"),
        options.get("center_logits", True),
    )
    assert torch.equal(run(method, seed=7)["logit"], expected)


def test_logits_are_standardised_before_they_are_dropped() -> None:
    student, teacher = answer(CNN, seed=1).logits, answer(VIT, seed=2).logits
    torch.manual_seed(7)
    expected = logit_dropout_loss(standardize_logits(student), standardize_logits(teacher), 0.1, 0.1, 2.0)
    found = run(build(active=("logit",), standardize=True), seed=7)["logit"]
    assert torch.equal(found, expected)
    assert not torch.equal(found, run(build(active=("logit",)), seed=7)["logit"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"masks": "independent", "feature_rate_teacher": 0.2},
        {"feature_unit": "channel", "normalize": "layer"},
        {"feature_unit": "position", "normalize": "none"},
    ],
    ids=str,
)
def test_the_term_feature_is_the_loss_of_codes_with_its_options(options: dict[str, Any]) -> None:
    method = build(active=("feature",), **options)
    maps = {"student": answer(CNN, seed=1).maps[-1], "teacher": F.adaptive_avg_pool2d(answer(VIT, seed=2).maps[-1], 4)}
    codes = [method.projections[0].encoders[side](feature_map) for side, feature_map in maps.items()]
    torch.manual_seed(7)
    expected = feature_dropout_loss(
        *codes,
        rate_teacher=options.get("feature_rate_teacher", 0.5),
        masks=options.get("masks", "coupled"),
        unit=options.get("feature_unit", "element"),
        normalize=options.get("normalize", "unit"),
    )
    torch.testing.assert_close(run(method, seed=7)["feature"], expected)


def test_the_default_rates_are_those_of_the_ablation_equal_for_both_networks_with_coupled_masks() -> None:
    method = build()
    assert set(method.feature_rates.values()) == {0.5}
    assert set(method.logit_rates.values()) == {0.1}
    assert method.masks == "coupled"


def test_coupled_masks_of_equal_rates_leave_nothing_to_learn_between_equal_answers() -> None:
    for masks, expected in (("coupled", True), ("independent", False)):
        method = build(student=VIT, masks=masks, active=("logit", "feature"))
        stage = method.projections[0]
        stage.encoders["student"].load_state_dict(stage.encoders["teacher"].state_dict())
        same = answer(VIT)
        terms = method(same, same, labels())
        assert (terms["logit"].item() < 1e-6 and terms["feature"].item() < 1e-6) == expected


def test_nothing_is_dropped_in_evaluation_mode() -> None:
    plain, dropped = run(build(**NO_DROPOUT).eval()), run(build().eval())
    assert all(torch.equal(plain[name], dropped[name]) for name in plain)


def test_several_masks_are_averaged() -> None:
    method = build(active=("logit",))
    single = torch.stack([run(method, seed)["logit"] for seed in range(100)])
    method.num_masks = 100
    many = run(method, seed=1)["logit"]
    assert abs(many - run(method, seed=2)["logit"]) < 0.5 * single.std()
    torch.testing.assert_close(many, single.mean(), rtol=0.1, atol=0.0)


def test_all_stages_are_paired_from_the_deep_end_and_averaged() -> None:
    method = build(stages="all", active=("feature",), **NO_DROPOUT)
    channels = [{side: e[0].in_channels for side, e in stage.encoders.items()} for stage in method.projections]
    assert channels == [{"student": 32, "teacher": 24}, {"student": 16, "teacher": 24}]
    both = run(method)["feature"]
    deepest = build(stages="deepest", active=("feature",), **NO_DROPOUT)
    deepest.projections.load_state_dict({k: v for k, v in method.projections.state_dict().items() if k[0] == "0"})
    shallow = 2 * both - run(deepest)["feature"]
    assert shallow > 0
    assert len(build(stages=1).projections) == 1
    with pytest.raises(ConfigError, match=r"method.stages is 9, but the student gives 3 and the teacher 2 .*at most 2"):
        build(stages=9)


def test_inactive_terms_are_not_computed_and_what_they_train_is_frozen() -> None:
    method = build(active=("logit",))
    for stage in method.projections:
        stage.encoders.forward = stage.decoders.forward = None  # calling any would fail
    assert set(run(method)) == {"logit"}
    assert not any(p.requires_grad for p in method.parameters())
    method.restrict_terms(method.terms)
    training = {
        name.split(".")[2] + "." + name.split(".")[3] for name, p in method.named_parameters() if p.requires_grad
    }
    assert training == {"encoders.student", "encoders.teacher", "decoders.teacher", "classifiers.teacher"}


def test_the_teachers_encoder_is_frozen_where_only_a_stopped_gradient_would_reach_it() -> None:
    method = build(active=("feature",))
    assert not any(p.requires_grad for p in method.projections[0].encoders["teacher"].parameters())
    free = build(active=("feature",), stop_gradient=False)
    assert all(p.requires_grad for p in free.projections[0].encoders["teacher"].parameters())


@pytest.mark.parametrize("stop", [True, False])
def test_the_term_feature_trains_the_teachers_encoder_only_where_its_gradient_is_not_stopped(stop: bool) -> None:
    method = build(stop_gradient=stop)
    weight = method.projections[0].encoders["teacher"][0].weight
    (grad,) = torch.autograd.grad(run(method)["feature"], weight, allow_unused=True)
    assert (grad is None) == stop


def test_the_sides_of_reconstruct_and_domain_are_chosen_alone() -> None:
    for options, sides in (
        ({}, (["teacher"], ["teacher"])),
        ({"reconstruct_sides": "both"}, (["teacher", "student"], ["teacher"])),
        ({"domain_sides": "both"}, (["teacher"], ["teacher", "student"])),
    ):
        stage = build(**options).projections[0]
        assert (list(stage.decoders), list(stage.classifiers)) == sides


def test_an_unknown_term_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"DropKD has no term 'features'.*Did you mean 'feature'\?"):
        build(active=("features",))


def test_encoders_decoders_and_classifiers_have_one_architecture_and_weights_of_their_own() -> None:
    stage = build(reconstruct_sides="both", domain_sides="both").projections[0]
    for parts in (stage.encoders, stage.decoders, stage.classifiers):
        kinds = [[type(module) for module in part.modules()] for part in parts.values()]
        assert kinds[0] == kinds[1]
        owned = [{id(p) for p in part.parameters()} for part in parts.values()]
        assert not owned[0] & owned[1]
    assert isinstance(stage.encoders["student"][0], nn.Conv2d)
    assert stage.encoders["student"][0].out_channels == 128


def test_the_student_gets_gradients_and_the_teacher_and_targets_of_reconstruction_do_not() -> None:
    method = build(reconstruct_sides="both", domain_sides="both")
    student, teacher = answer(CNN, seed=1), answer(VIT, seed=2)
    for tensor in (student.logits, *student.maps, teacher.logits, *teacher.maps):
        tensor.requires_grad_()
    torch.stack(list(method(student, teacher, labels()).values())).sum().backward()
    assert student.maps[-1].grad is not None
    assert student.logits.grad is not None
    assert teacher.maps[-1].grad is None
    assert teacher.logits.grad is None
    assert student.maps[0].grad is None


def test_learning_brings_the_terms_down() -> None:
    method = build()
    student = answer(CNN, images=8, seed=1)
    features = [student.maps[-1].clone().requires_grad_(), student.logits.clone().requires_grad_()]
    optimizer = torch.optim.Adam([*method.parameters(), *features], lr=0.03)
    teacher, batch, history = answer(VIT, images=8, seed=2), labels(8), []
    for _ in range(40):
        terms = method(Outputs(features[1], (features[0],), student.embedding), teacher, batch)
        history.append({name: value.item() for name, value in terms.items()})
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    for name in DropKD.terms:
        assert history[-1][name] < 0.7 * history[0][name], name


@pytest.mark.parametrize(
    ("student", "teacher", "images"),
    [
        (CNN, VIT, 3),
        (VIT, CNN, 3),
        (VIT, VIT, 2),
        (CNN, CNN, 1),
        (Shapes(2, ((5, 7, 13),), 5), Shapes(2, ((9, 4, 8),), 9), 2),
        (Shapes(1000, ((5, 1, 1),), 5), Shapes(1000, ((9, 3, 3),), 9), 1),
        (Shapes(7, ((5, 1, 2),), 5), Shapes(7, ((9, 2, 2),), 9), 2),
    ],
)
def test_any_pair_of_networks_trains(student: Shapes, teacher: Shapes, images: int) -> None:
    terms = run(build(student, teacher, stages="all", reconstruct_sides="both", domain_sides="both"), images=images)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())


def test_float64_stays_float64() -> None:
    method = build().double()
    terms = method(answer(CNN, dtype=torch.float64), answer(VIT, dtype=torch.float64), labels())
    assert {value.dtype for value in terms.values()} == {torch.float64}


def test_under_autocast_the_losses_are_those_in_float32_but_for_the_projectors_rounding() -> None:
    method = build()
    exact = run(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = run(method)
    assert {value.dtype for value in rounded.values()} == {torch.float32}
    assert torch.equal(exact["logit"], rounded["logit"])
    for name in ("feature", "reconstruct", "domain"):
        torch.testing.assert_close(exact[name], rounded[name], rtol=0.02, atol=0.02)


def test_shares_of_classes_are_taken_as_labels() -> None:
    method = build(active=("domain",), **NO_DROPOUT)
    student, teacher, batch = answer(CNN, seed=1), answer(VIT, seed=2), labels()
    shares = F.one_hot(batch.target, 10).float()
    soft = method(student, teacher, Batch(batch.target, batch.index, soft_target=shares))
    torch.testing.assert_close(soft["domain"], method(student, teacher, batch)["domain"])


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (Shapes(10, (), 5), VIT, "the student gives no feature maps. Name the layers by student.map_modules"),
        (CNN, Shapes(10, (), 5), "the teacher gives no feature maps. Name the layers by teacher.map_modules"),
        (CNN, Shapes(10, ((24, 1, 49),), 24), r"(32, 4, 4) and the teacher's (24, 1, 49) can't be aligned"),
    ],
)
def test_maps_that_cannot_be_aligned_are_refused_with_their_shapes(
    student: Shapes, teacher: Shapes, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        build(student, teacher)
    assert words in str(caught.value)


def test_maps_that_differ_from_those_it_was_built_for_are_refused() -> None:
    method, student = build(), answer(CNN)
    with pytest.raises(ModelError, match=r"can't be aligned"):
        method(student, answer(Shapes(10, ((24, 2, 12),), 24)), labels())


def test_it_needs_a_teacher() -> None:
    with pytest.raises(ConfigError, match="DropKD learns from a teacher, but none is given"):
        build_method("dropkd", Pair(CNN, None, 10), {})
    with pytest.raises(ConfigError, match="was called without its answer"):
        build()(answer(CNN), None, labels())


def test_the_number_of_parameters_is_the_one_that_is_documented() -> None:
    student, teacher = (
        build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)).shapes for n in (20, 56)
    )
    count = sum(p.numel() for p in build(student, teacher).parameters())
    assert f"{count:,} parameters for" in (DropKD.__doc__ or "")


def test_the_recipe_has_the_papers_rates_and_otherwise_the_defaults() -> None:
    config = load_recipe("dropkd")
    check_cifar_training(config)
    assert config.method.weights == {"cross_entropy": 1.0, **DropKD.terms}
    options = {key: value for key, value in config.method.options.items() if key not in RATES}
    defaults = {name: option.default for name, option in method_options(DropKD).items() if name not in RATES}
    assert options == defaults
    assert [config.method.options[rate] for rate in RATES] == [0.5] * 4
