"""What the formulas of the field's losses come to in the cases that one can see."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd import functional
from dropkd.errors import ConfigError, ModelError

TARGET = torch.tensor([0, 3, 6, 2, 2])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, TEACHER = draw(5, 7, seed=1), draw(5, 7, seed=2)
ROTATION = torch.linalg.qr(draw(6, 6, seed=9))[0]

OVER_LOGITS: dict[str, Callable[..., Tensor]] = {
    "kd": functional.kd_loss,
    "dkd": lambda s, t: functional.dkd_loss(s, t, TARGET),
    "tckd": lambda s, t: functional.tckd_loss(s, t, TARGET),
    "nckd": lambda s, t: functional.nckd_loss(s, t, TARGET),
    "dist": functional.dist_loss,
    "ofa": lambda s, t: functional.ofa_loss(s, t, TARGET, 1.5),
    "batch correlation": lambda s, t: functional.batch_correlation_loss(s, t, 2.0),
    "class correlation": lambda s, t: functional.class_correlation_loss(s, t, 2.0),
    "mld": lambda s, t: functional.mld_loss(s, s + 0.1, t, t - 0.1),
}


@pytest.mark.parametrize("loss", OVER_LOGITS.values(), ids=OVER_LOGITS)
def test_logits_may_move_by_a_constant_in_each_row(loss: Callable[..., Tensor]) -> None:
    shift = draw(5, 1, seed=3)
    torch.testing.assert_close(loss(STUDENT + shift, TEACHER - 2 * shift), loss(STUDENT, TEACHER))


@pytest.mark.parametrize("loss", OVER_LOGITS.values(), ids=OVER_LOGITS)
def test_classes_may_be_numbered_otherwise(loss: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, order = loss(STUDENT, TEACHER), torch.randperm(7, generator=torch.Generator().manual_seed(1))
    monkeypatch.setitem(globals(), "TARGET", order.argsort()[TARGET])
    torch.testing.assert_close(loss(STUDENT[:, order], TEACHER[:, order]), expected)


@pytest.mark.parametrize("name", [name for name in OVER_LOGITS if name not in ("dist", "ofa")])
def test_equal_logits_give_0_and_no_gradient(name: str) -> None:
    student = TEACHER.clone().requires_grad_()
    loss = OVER_LOGITS[name](student, TEACHER) if name != "mld" else functional.mld_loss(*[student] * 2, *[TEACHER] * 2)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-10


def test_at_a_high_temperature_kd_is_matching_of_centred_logits() -> None:
    centred = [z - z.mean(dim=1, keepdim=True) for z in (STUDENT, TEACHER)]
    expected = (centred[0] - centred[1]).square().sum(dim=1).mean() / 14
    torch.testing.assert_close(functional.kd_loss(STUDENT, TEACHER, 1e4), expected, rtol=1e-3, atol=0.0)


def test_a_sure_teacher_makes_kd_the_cross_entropy() -> None:
    sure = 200.0 * F.one_hot(TARGET, 7).double()
    torch.testing.assert_close(functional.kd_loss(STUDENT, sure, 1.0), F.cross_entropy(STUDENT, TARGET))


def test_weighted_by_the_teachers_doubt_the_two_parts_of_dkd_are_kd() -> None:
    for row in range(5):
        student, teacher, target = STUDENT[row : row + 1], TEACHER[row : row + 1], TARGET[row : row + 1]
        doubt = 1 - torch.softmax(teacher / 4, dim=1)[0, target].item()
        found = functional.dkd_loss(student, teacher, target, alpha=1.0, beta=doubt)
        torch.testing.assert_close(found, functional.kd_loss(student, teacher))


def test_of_two_classes_dkd_has_the_first_part_only() -> None:
    student, teacher, target = draw(4, 2, seed=1), draw(4, 2, seed=2), torch.tensor([0, 1, 1, 0])
    assert functional.nckd_loss(student, teacher, target).item() == 0.0
    torch.testing.assert_close(functional.tckd_loss(student, teacher, target), functional.kd_loss(student, teacher))


def test_alpha_and_beta_weigh_the_parts_of_dkd() -> None:
    parts = [functional.tckd_loss(STUDENT, TEACHER, TARGET), functional.nckd_loss(STUDENT, TEACHER, TARGET)]
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (0.5, 2.0)):
        found = functional.dkd_loss(STUDENT, TEACHER, TARGET, alpha, beta)
        torch.testing.assert_close(found, alpha * parts[0] + beta * parts[1])


def test_at_gamma_1_ofa_is_the_cross_entropy_with_the_teachers_probabilities() -> None:
    expected = F.cross_entropy(STUDENT, torch.softmax(TEACHER, dim=1))
    torch.testing.assert_close(functional.ofa_loss(STUDENT, TEACHER, TARGET), expected)


def test_standardized_logits_have_mean_0_and_deviation_1_and_forget_their_scale() -> None:
    found = functional.standardize_logits(STUDENT)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(found.std(dim=1), torch.ones(5, dtype=torch.float64), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(functional.standardize_logits(3 * STUDENT + 5), found, rtol=1e-6, atol=1e-7)


def test_a_constant_row_of_logits_is_standardized_to_zeros() -> None:
    logits = torch.full((1, 7), 4.0, requires_grad=True)
    functional.standardize_logits(logits).square().sum().backward()
    assert functional.standardize_logits(logits).abs().sum() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_dist_forgets_the_scale_and_shift_of_probabilities() -> None:
    student, teacher = torch.softmax(STUDENT, dim=1), torch.softmax(TEACHER, dim=1)
    found = functional.pearson_correlation(3 * student + 1, teacher, dim=1)
    torch.testing.assert_close(found, functional.pearson_correlation(student, teacher, dim=1), rtol=1e-6, atol=0.0)
    assert functional.dist_loss(STUDENT, STUDENT).item() == pytest.approx(0.0, abs=1e-5)


def test_beta_and_gamma_weigh_the_parts_of_dist() -> None:
    inter, intra = functional.dist_loss(STUDENT, TEACHER, 1.0, 0.0), functional.dist_loss(STUDENT, TEACHER, 0.0, 1.0)
    torch.testing.assert_close(functional.dist_loss(STUDENT, TEACHER, 2.0, 0.5), 2 * inter + intra / 2)


def test_the_two_forms_of_mld_differ_and_the_default_is_the_authors_code() -> None:
    views = [draw(6, 7, seed=seed) for seed in range(4)]
    code, intended = (functional.mld_loss(*views, form=form) for form in ("code", "intended"))
    assert functional.mld_loss(*views) == code
    assert code.item() != pytest.approx(intended.item(), rel=1e-2)


def test_attention_maps_have_length_1_and_forget_the_scale_of_features() -> None:
    features = draw(3, 4, 5, 6)
    found = functional.attention_map(features)
    assert found.shape == (3, 30)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(functional.attention_map(-7 * features), found)
    assert functional.attention_map(torch.zeros(1, 2, 3, 3)).abs().sum() == 0


def test_negative_features_keep_their_sign_under_an_odd_power_only() -> None:
    features = draw(3, 4, 5, 6)
    torch.testing.assert_close(functional.attention_map(-features, 3), -functional.attention_map(features, 3))
    torch.testing.assert_close(functional.attention_map(-features, 2.5), functional.attention_map(features.abs(), 2.5))
    student, teacher = [features], [draw(3, 2, 5, 6, seed=1)]
    for power in (2, 2.5):
        code, paper = (functional.at_loss(student, teacher, power, form) for form in ("code", "paper"))
        torch.testing.assert_close(functional.at_loss([-features], teacher, power), code)
        torch.testing.assert_close(functional.at_loss([-features], teacher, power, form="paper"), paper)
    odd = [functional.at_loss([sign * features], teacher, 3, form="paper") for sign in (1, -1)]
    torch.testing.assert_close(*odd)


def test_the_forms_of_at_are_mean_squares_and_lengths() -> None:
    student, teacher = draw(3, 4, 5, 6, seed=1), draw(3, 2, 5, 6, seed=2)
    gap = functional.attention_map(student) - functional.attention_map(teacher)
    torch.testing.assert_close(functional.at_loss([student], [teacher]), gap.square().sum() / (3 * 30))
    torch.testing.assert_close(functional.at_loss([student], [teacher], form="paper"), gap.norm(dim=1).sum() / 3)


def test_stages_are_summed() -> None:
    first, second = (draw(3, 4, 5, 5, seed=seed) for seed in (1, 2))
    small, large = draw(3, 2, 3, 3, seed=3), draw(3, 6, 3, 3, seed=4)
    for loss in (functional.at_loss, functional.nst_loss):
        torch.testing.assert_close(
            loss([first, small], [second, large]), loss([first], [second]) + loss([small], [large])
        )


def test_nst_is_the_same_by_channels_and_by_positions() -> None:
    student, teacher = draw(2, 9, 2, 4, seed=1), draw(2, 7, 2, 4, seed=2)
    flat = [F.normalize(m.flatten(2), dim=2) for m in (student, teacher)]
    kernels = [(flat[a] @ flat[b].mT).square().mean() for a, b in ((0, 0), (1, 1), (0, 1))]
    torch.testing.assert_close(functional.nst_loss([student], [teacher]), kernels[0] + kernels[1] - 2 * kernels[2])


def test_channels_may_come_in_any_order_and_scale_in_nst() -> None:
    student, teacher = draw(2, 9, 3, 3, seed=1), draw(2, 7, 3, 3, seed=2)
    found = functional.nst_loss([3 * student.flip(1)], [teacher])
    torch.testing.assert_close(found, functional.nst_loss([student], [teacher]))


@pytest.mark.parametrize(
    "loss", [functional.rkd_distance_loss, functional.rkd_angle_loss, functional.pkt_loss, functional.sp_loss]
)
def test_relations_between_images_forget_rotations(loss: Callable[..., Tensor]) -> None:
    student, teacher = draw(5, 6, seed=1), draw(5, 4, seed=2)
    torch.testing.assert_close(loss(student @ ROTATION, teacher), loss(student, teacher))
    assert loss(student @ ROTATION, student).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("loss", [functional.rkd_distance_loss, functional.rkd_angle_loss])
def test_rkd_forgets_shift_and_scale(loss: Callable[..., Tensor]) -> None:
    student, teacher = draw(5, 6, seed=1), draw(5, 4, seed=2)
    torch.testing.assert_close(loss(7 * student + 100, teacher), loss(student, teacher))


def test_rkd_keeps_its_digits_in_float32_far_from_the_origin() -> None:
    student, teacher = draw(6, 5, seed=1) + 1000, draw(6, 4, seed=2) - 1000
    exact = functional.rkd_distance_loss(student, teacher)
    torch.testing.assert_close(
        functional.rkd_distance_loss(student.float(), teacher.float()).double(), exact, rtol=1e-3, atol=0.0
    )


def test_a_batch_of_equal_images_gives_finite_relations() -> None:
    same = torch.ones(4, 3, requires_grad=True)
    for loss in (functional.rkd_distance_loss, functional.rkd_angle_loss, functional.pkt_loss, functional.sp_loss):
        value = loss(same, draw(4, 3).float())
        (grad,) = torch.autograd.grad(value, same)
        assert value.isfinite()
        assert grad.isfinite().all()


def test_the_margin_of_ofd_is_the_mean_of_a_cut_normal_distribution() -> None:
    samples = 1.5 * draw(400_000) + 0.7
    expected = samples[samples < 0].mean()
    found = functional.ofd_margin(torch.tensor([-1.5]).double(), torch.tensor([0.7]).double())
    torch.testing.assert_close(found[0], expected, rtol=0.01, atol=0.0)
    rare = functional.ofd_margin(torch.tensor([2.0, 0.0]), torch.tensor([9.0, 0.0]))
    assert rare[0].item() == -6.0
    assert rare.isfinite().all()


def test_ofd_leaves_alone_what_both_networks_would_cut() -> None:
    teacher, margin = torch.full((1, 1, 1, 1), -3.0), torch.tensor([-1.0])
    below = torch.full((1, 1, 1, 1), -2.0, requires_grad=True)
    assert functional.ofd_loss(below, teacher, margin).item() == 0.0
    assert functional.ofd_loss(below + 1.5, teacher, margin).item() == 0.25


def test_an_image_found_among_others_loses_less_in_crd() -> None:
    index = torch.tensor([[0, 1, 2]])
    memory = F.normalize(draw(3, 4), dim=1)
    losses = []
    for own in (0, 1):
        scores = functional.crd_scores(memory[own : own + 1], memory, index, temperature=0.5)
        losses.append(functional.crd_loss(scores / scores.mean(), 3))
    assert losses[0] < losses[1]


def test_a_memory_moves_at_its_places_only_and_stays_of_length_1() -> None:
    memory, new = F.normalize(draw(5, 4, seed=1), dim=1), F.normalize(draw(2, 4, seed=2), dim=1)
    before = memory.clone()
    moved = functional.update_memory(memory, torch.tensor([3, 0]), new)
    assert torch.equal(memory, before)
    assert torch.equal(moved[[1, 2, 4]], memory[[1, 2, 4]])
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(functional.update_memory(memory, torch.tensor([3, 0]), new, momentum=0.0)[[3, 0]], new)


def test_the_rank_is_regularized_until_the_margin_is_met() -> None:
    met = torch.tensor([0.9, 0.9, 0.1], requires_grad=True)
    functional.rank_regularization_loss(met).backward()
    assert functional.rank_regularization_loss(met).item() == 0.0
    assert met.grad is not None
    assert met.grad.abs().sum() == 0
    assert functional.rank_regularization_loss(torch.full((4, 1), 0.5)).item() == pytest.approx(0.15)


def test_labels_change_only_where_another_class_is_likelier_by_the_margin() -> None:
    shares = torch.tensor([[0.35, 0.65], [0.45, 0.55], [0.65, 0.35]])
    found = functional.find_relabels(shares.log(), torch.tensor([0, 0, 0]))
    assert found.tolist() == [1, 0, 0]


def test_activation_maps_average_to_the_logits_without_bias_and_give_the_classifier_no_gradient() -> None:
    features, weight = draw(2, 4, 3, 3).requires_grad_(), draw(5, 4, seed=1).requires_grad_()
    maps = functional.class_activation_maps(features, weight)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), F.linear(features.mean(dim=(2, 3)), weight))
    maps.sum().backward()
    assert features.grad is not None
    assert weight.grad is None


def test_maps_of_mirror_images_agree_when_they_are_mirrored() -> None:
    cam = draw(2, 3, 1, 5)
    assert functional.flip_consistency_loss(cam, cam.flip(3)).item() == 0.0
    assert functional.flip_consistency_loss(cam, cam).item() > 0.1


def test_a_variance_of_vid_starts_at_5_and_stays_above_0() -> None:
    start = math.log(math.expm1(5 - 1e-5))
    assert functional.vid_variance(torch.tensor(start).double()).item() == pytest.approx(5.0)
    assert functional.vid_variance(torch.tensor(-200.0)).item() == pytest.approx(1e-5)


ONE = draw(1, 4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: functional.kd_loss(STUDENT, TEACHER[:, :5]), ModelError, "one shape, got (5, 7) and (5, 5)"),
        (
            lambda: functional.kd_loss(STUDENT[0], TEACHER[0]),
            ModelError,
            "logits must have 2 dimensions, got shape (7,)",
        ),
        (
            lambda: functional.kd_loss(STUDENT, TEACHER, -1.0),
            ConfigError,
            "temperature must be greater than 0, got -1.0",
        ),
        (
            lambda: functional.kd_loss(STUDENT, TEACHER, math.nan),
            ConfigError,
            "temperature must be greater than 0, got nan",
        ),
        (lambda: functional.dkd_loss(STUDENT, TEACHER, TARGET[:3]), ConfigError, "one class number for each of 5 rows"),
        (lambda: functional.dkd_loss(STUDENT, TEACHER, STUDENT), ConfigError, "one class number for each of 5 rows"),
        (lambda: functional.dkd_loss(ONE[:, :1], ONE[:, :1], TARGET[:1]), ModelError, "needs two, got (1, 1)"),
        (lambda: functional.standardize_logits(ONE[:, :1]), ModelError, "needs two of them, got (1, 1)"),
        (lambda: functional.dist_loss(ONE, ONE), ConfigError, "needs at least 2 images in a batch, got 1"),
        (lambda: functional.rkd_distance_loss(ONE, ONE), ConfigError, "needs at least 2 images in a batch, got 1"),
        (lambda: functional.cc_loss(ONE, ONE), ConfigError, "needs at least 2 images in a batch, got 1"),
        (lambda: functional.sp_loss(ONE, STUDENT), ModelError, "embeddings must be (B, ...) of one batch"),
        (lambda: functional.pkt_loss(ONE[0], ONE[0]), ModelError, "embeddings must be (B, ...) of one batch"),
        (lambda: functional.at_loss([draw(2, 3, 4, 4)], []), ModelError, "as many maps, got 1 and 0"),
        (lambda: functional.at_loss([], []), ModelError, "as many maps, got 0 and 0"),
        (
            lambda: functional.at_loss([draw(2, 3, 4, 4)], [draw(2, 3, 4, 4)], form="papers"),
            ConfigError,
            "form must be code or paper, got 'papers'. Did you mean 'paper'?",
        ),
        (lambda: functional.at_loss([draw(2, 3, 4, 4)], [draw(3, 3, 4, 4)]), ModelError, "of one batch"),
        (lambda: functional.nst_loss([draw(2, 3, 4, 12)], [draw(2, 3, 12, 4)]), ModelError, "can't be aligned"),
        (
            lambda: functional.hcl_loss([draw(2, 3, 4, 4)], [draw(2, 3, 2, 2)]),
            ModelError,
            "(2, 3, 4, 4) and (2, 3, 2, 2)",
        ),
        (lambda: functional.rank_regularization_loss(ONE[0, :1]), ConfigError, "leaves a group empty"),
        (lambda: functional.rank_regularization_loss(ONE, high_ratio=1.0), ConfigError, "leaves a group empty"),
        (lambda: functional.class_activation_maps(draw(1, 4, 2, 2), ONE[:, :3]), ModelError, "(1, 3) and (1, 4, 2, 2)"),
        (lambda: functional.vid_loss(draw(1, 4, 2, 2), draw(1, 4, 2, 2), ONE[0, :3]), ModelError, "4 channels need"),
        (lambda: functional.ofd_loss(draw(1, 4, 2, 2), draw(1, 4, 2, 2), ONE[0, :3]), ModelError, "4 channels need"),
        (lambda: functional.crd_scores(ONE, STUDENT, TARGET[None]), ModelError, "do not fit each other"),
        (
            lambda: functional.mld_loss(STUDENT, STUDENT, TEACHER, TEACHER, [0.0]),
            ConfigError,
            "greater than 0, got 0.0",
        ),
        (lambda: functional.mld_loss(*[STUDENT] * 4, form="codes"), ConfigError, "Did you mean 'code'?"),
    ],
)
def test_a_wrong_argument_is_refused_in_words(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


def test_one_image_is_enough_where_nothing_is_compared_between_images() -> None:
    logits, features = ONE, [draw(1, 3, 4, 4)]
    for value in (
        functional.kd_loss(logits, -logits),
        functional.dkd_loss(logits, -logits, TARGET[:1]),
        functional.ofa_loss(logits, -logits, TARGET[:1]),
        functional.mld_loss(logits, logits, -logits, -logits),
        functional.at_loss(features, [draw(1, 5, 2, 2)]),
        functional.nst_loss(features, [draw(1, 5, 2, 2)]),
        functional.pkt_loss(logits, -logits),
        functional.sp_loss(logits, -logits),
        functional.rkd_angle_loss(logits, -logits),
    ):
        assert value.isfinite()


def test_the_fixed_public_names_and_their_defaults_stay() -> None:
    expected = {
        "kd_loss": "(student_logits, teacher_logits, temperature=4.0)",
        "dkd_loss": "(student_logits, teacher_logits, target, alpha=1.0, beta=8.0, temperature=4.0)",
        "tckd_loss": "(student_logits, teacher_logits, target, temperature=4.0)",
        "nckd_loss": "(student_logits, teacher_logits, target, temperature=4.0)",
        "standardize_logits": "(logits)",
        "dist_loss": "(student_logits, teacher_logits, beta=1.0, gamma=1.0, temperature=1.0)",
        "ofa_loss": "(student_logits, teacher_logits, target, gamma=1.0, temperature=1.0)",
        "batch_correlation_loss": "(student_logits, teacher_logits, temperature)",
        "class_correlation_loss": "(student_logits, teacher_logits, temperature)",
        "attention_map": "(feature_map, power=2)",
        "at_loss": "(student_maps, teacher_maps, power=2, form='code')",
        "rkd_distance_loss": "(student_embedding, teacher_embedding, squared=False)",
        "rkd_angle_loss": "(student_embedding, teacher_embedding)",
        "nst_loss": "(student_maps, teacher_maps)",
        "pkt_loss": "(student_embedding, teacher_embedding)",
        "sp_loss": "(student_map, teacher_map)",
        "hcl_loss": "(student_maps, teacher_maps)",
        "vid_loss": "(mean, target, variance)",
        "rank_regularization_loss": "(attention_weights, high_ratio=0.7, margin=0.15)",
        "class_activation_maps": "(feature_map, classifier_weight)",
        "flip_consistency_loss": "(cam, flipped_cam)",
    }
    for name, signature in expected.items():
        parameters = inspect.signature(getattr(functional, name)).parameters.values()
        shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
        assert f"({', '.join(shown)})" == signature, name
    assert {"mld_loss", "feature_dropout_loss", "logit_dropout_loss"} <= set(functional.__all__)
    assert all(callable(getattr(functional, name)) for name in functional.__all__)
