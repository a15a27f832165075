"""DropKD's masks and its two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from dropkd.errors import ConfigError, ModelError
from dropkd.functional import code_distance, feature_dropout_loss, kd_loss, logit_dropout_loss, normalize_code
from dropkd.functional.dropout import draw_masks, drop


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def mask(*args: Any, seed: int = 0, **kwargs: Any) -> tuple[Tensor, Tensor]:
    return draw_masks(torch.zeros(40, 30, 5, 6), *args, generator=seeded(seed), **kwargs)


def test_coupled_masks_of_equal_rates_are_equal_and_of_unequal_ones_nested() -> None:
    student, teacher = mask(0.5, 0.5)
    assert torch.equal(student, teacher)
    student, teacher = mask(0.3, 0.7)
    assert (teacher <= student).all()
    assert not torch.equal(student, teacher)


def test_independent_masks_agree_as_often_as_chance_has_it() -> None:
    student, teacher = mask(0.5, 0.5, "independent")
    assert (student == teacher).double().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("masks", ["coupled", "independent"])
def test_each_network_drops_at_its_own_rate(masks: Any) -> None:
    student, teacher = mask(0.2, 0.9, masks)
    assert student.double().mean().item() == pytest.approx(0.8, abs=0.01)
    assert teacher.double().mean().item() == pytest.approx(0.1, abs=0.01)


def test_at_rate_0_all_is_kept() -> None:
    assert all(keep.all() for keep in mask(0.0, 0.0))


@pytest.mark.parametrize(
    ("unit", "shape"), [("element", (40, 30, 5, 6)), ("channel", (40, 30, 1, 1)), ("position", (40, 1, 5, 6))]
)
def test_a_unit_is_dropped_as_one(unit: Any, shape: tuple[int, ...]) -> None:
    assert mask(0.5, 0.5, unit=unit)[0].shape == shape


def test_dropout_keeps_the_expectation() -> None:
    values = torch.full((200, 500), 3.0, dtype=torch.float64)
    keep, _ = draw_masks(values, 0.75, 0.0, generator=seeded())
    dropped = drop(values, keep, 0.75)
    assert set(dropped.unique().tolist()) == {0.0, 12.0}
    assert dropped.mean().item() == pytest.approx(3.0, rel=0.02)
    assert drop(values, keep, 0.0) is values


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate_student must be at least 0 and less than 1, got"):
        mask(rate, 0.5)
    with pytest.raises(ConfigError, match="rate_teacher must be"):
        logit_dropout_loss(draw(2, 3), draw(2, 3), 0.5, rate)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mask(0.5, 0.5, "couple"), "masks must be one of coupled, independent, got 'couple'. Did you mean"),
        (lambda: mask(0.5, 0.5, unit="pixel"), "unit must be one of element, channel, position, got 'pixel'."),
        (lambda: logit_dropout_loss(draw(2, 3), draw(2, 3), mode="removed"), "Did you mean 'remove'?"),
        (
            lambda: logit_dropout_loss(draw(2, 3), draw(2, 3), temperature=0),
            "temperature must be greater than 0, got 0.",
        ),
        (lambda: normalize_code(draw(1, 2, 1, 1), "unity"), "Did you mean 'unit'?"),
    ],
)
def test_an_unknown_choice_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert words in str(caught.value)


def test_other_shapes_are_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"one shape, got \(2, 3\) and \(2, 4\)"):
        logit_dropout_loss(draw(2, 3), draw(2, 4))
    with pytest.raises(ModelError, match=r"must have 4 dimensions, got shape \(2, 3\)"):
        feature_dropout_loss(draw(2, 3), draw(2, 3))


@pytest.mark.parametrize("options", [{}, {"mode": "remove"}, {"center": False}, {"masks": "independent"}], ids=str)
def test_without_dropout_the_loss_of_logits_is_kd(options: dict[str, Any]) -> None:
    student, teacher = draw(5, 7, seed=1), draw(5, 7, seed=2)
    found = logit_dropout_loss(student, teacher, 0.0, 0.0, 3.0, **options)
    torch.testing.assert_close(found, kd_loss(student, teacher, 3.0), rtol=1e-14, atol=0.0)


def test_without_dropout_the_loss_of_features_is_the_distance_of_unit_vectors() -> None:
    student, teacher = draw(2, 3, 2, 2, seed=1), draw(2, 3, 2, 2, seed=2)
    total = 0.0
    for i, y, x in np.ndindex(2, 2, 2):
        a, b = student[i, :, y, x].numpy(), teacher[i, :, y, x].numpy()
        total += np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2) / 8
    assert feature_dropout_loss(student, teacher, 0.0, 0.0).item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("masks", ["coupled", "independent"])
@pytest.mark.parametrize("center", [True, False])
def test_zeroed_logits_are_kd_of_masked_logits(masks: Any, center: bool) -> None:
    student, teacher = draw(5, 7, seed=1), draw(5, 7, seed=2)
    found = logit_dropout_loss(student, teacher, 0.3, 0.6, 2.0, masks, "zero", center, seeded(4))
    keeps = draw_masks(student, 0.3, 0.6, masks, generator=seeded(4))
    parts = []
    for logits, keep, rate in zip((student, teacher), keeps, (0.3, 0.6), strict=True):
        shifted = logits - logits.mean(dim=1, keepdim=True) if center else logits
        parts.append(torch.where(keep, shifted / (1 - rate), 0.0).numpy())
    assert found.item() == pytest.approx(oracles.kd(*parts, 2.0), rel=1e-12)


@pytest.mark.parametrize("masks", ["coupled", "independent"])
def test_removed_classes_leave_both_softmaxes_and_empty_rows_count_as_0(masks: Any) -> None:
    student, teacher = draw(40, 3, seed=1), draw(40, 3, seed=2)
    found = logit_dropout_loss(student, teacher, 0.5, 0.6, 2.0, masks, "remove", generator=seeded(4))
    keeps = draw_masks(student, 0.5, 0.6, masks, generator=seeded(4))
    keep = (keeps[0] & keeps[1]).numpy()
    assert (keep.sum(axis=1) == 0).any()
    rows = [
        oracles.kd(s[None, k], t[None, k], 2.0)
        for s, t, k in zip(student.numpy(), teacher.numpy(), keep, strict=True)
        if k.any()
    ]
    assert found.item() == pytest.approx(sum(rows) / 40, rel=1e-12)


def test_a_batch_that_keeps_no_class_gives_0_and_no_gradient() -> None:
    student = draw(2, 3).requires_grad_()
    loss = logit_dropout_loss(student, draw(2, 3, seed=1), 0.999999, 0.999999, mode="remove", generator=seeded())
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


@pytest.mark.parametrize("options", [{}, {"mode": "remove"}], ids=str)
def test_coupled_dropout_of_equal_logits_gives_0(options: dict[str, Any]) -> None:
    logits = draw(5, 7)
    assert logit_dropout_loss(logits, logits, **options).item() == 0.0
    assert logit_dropout_loss(logits, logits, masks="independent").item() > 0.01


def test_centred_logits_may_move_by_a_constant() -> None:
    student, teacher = draw(5, 7, seed=1), draw(5, 7, seed=2)

    def loss(shift: float, center: bool) -> float:
        return logit_dropout_loss(student + shift, teacher, center=center, generator=seeded()).item()

    assert loss(0.0, True) == pytest.approx(loss(9.0, True), rel=1e-9)
    assert loss(0.0, False) != pytest.approx(loss(9.0, False), rel=1e-2)


def test_independent_masks_add_a_pull_towards_small_codes_to_plain_matching() -> None:
    student, teacher = (draw(1, 4, 1, 1, seed=seed).expand(100_000, 4, 1, 1) for seed in (1, 2))
    found = feature_dropout_loss(student, teacher, 0.5, 0.25, "independent", normalize="none", generator=seeded())
    squares = [code[0].square().sum() for code in (student, teacher)]
    expected = ((student[0] - teacher[0]).square().sum() + squares[0] * 0.5 / 0.5 + squares[1] * 0.25 / 0.75) / 4
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.0)


def test_a_shared_mask_is_plain_matching_up_to_scale() -> None:
    student, teacher = (draw(1, 4, 1, 1, seed=seed).expand(100_000, 4, 1, 1) for seed in (1, 2))
    found = feature_dropout_loss(student, teacher, 0.5, 0.5, normalize="none", generator=seeded())
    torch.testing.assert_close(found, 2 * (student[0] - teacher[0]).square().mean(), rtol=0.02, atol=0.0)


@pytest.mark.parametrize("options", [{}, {"stop_gradient": False}], ids=str)
def test_the_teachers_code_gets_gradients_only_where_they_are_not_stopped(options: dict[str, Any]) -> None:
    student, teacher = draw(2, 3, 2, 2, seed=1).requires_grad_(), draw(2, 3, 2, 2, seed=2).requires_grad_()
    feature_dropout_loss(student, teacher, **options).backward()
    assert student.grad is not None
    assert (teacher.grad is not None) == bool(options)


def test_teacher_logits_get_no_gradient() -> None:
    for mode in ("zero", "remove"):
        student, teacher = draw(4, 5, seed=1).requires_grad_(), draw(4, 5, seed=2).requires_grad_()
        logit_dropout_loss(student, teacher, mode=mode).backward()  # type: ignore[arg-type]
        assert student.grad is not None
        assert teacher.grad is None


@pytest.mark.parametrize("normalize", ["unit", "layer", "none"])
@pytest.mark.parametrize("unit", ["element", "channel", "position"])
def test_gradients_of_features_are_those_of_finite_differences(normalize: Any, unit: Any) -> None:
    student, teacher = draw(2, 3, 2, 2, seed=1).requires_grad_(), draw(2, 3, 2, 2, seed=2).requires_grad_()

    def loss(s: Tensor, t: Tensor) -> Tensor:
        return feature_dropout_loss(s, t, 0.3, 0.5, "coupled", unit, normalize, False, seeded(3))

    assert gradcheck(loss, (student, teacher))


@pytest.mark.parametrize("mode", ["zero", "remove"])
@pytest.mark.parametrize("masks", ["coupled", "independent"])
def test_gradients_of_logits_are_those_of_finite_differences(mode: Any, masks: Any) -> None:
    teacher = draw(6, 4, seed=2)
    student = draw(6, 4, seed=1).requires_grad_()
    assert gradcheck(lambda s: logit_dropout_loss(s, teacher, 0.5, 0.3, 2.0, masks, mode, True, seeded(3)), student)


@pytest.mark.parametrize("mode", ["zero", "remove"])
@pytest.mark.parametrize("classes", [2, 1000])
def test_logits_of_60_give_finite_values_and_gradients_in_float32(mode: Any, classes: int) -> None:
    student = (60 * draw(8, classes).sign().float()).requires_grad_()
    loss = logit_dropout_loss(student, -student.detach(), 0.5, 0.5, 1.0, "independent", mode)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_codes_of_zeros_give_finite_gradients() -> None:
    student = torch.zeros(2, 3, 2, 2, requires_grad=True)
    feature_dropout_loss(student, draw(2, 3, 2, 2).float()).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_codes_are_scaled_to_length_1_or_to_the_mean_of_their_squares() -> None:
    code = 5 * draw(2, 8, 3, 3) + 2
    assert normalize_code(code, "unit").square().sum(dim=1).allclose(torch.ones(2, 3, 3, dtype=torch.float64))
    layer = normalize_code(code, "layer")
    assert layer.square().sum(dim=1).allclose(torch.ones(2, 3, 3, dtype=torch.float64))
    assert layer.mean(dim=1).abs().max() < 1e-12
    torch.testing.assert_close(
        code_distance(normalize_code(code, "none"), torch.zeros_like(code)), code.square().mean()
    )


def test_the_losses_are_repeatable_under_a_seed() -> None:
    student, teacher = draw(5, 7, seed=1), draw(5, 7, seed=2)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(logit_dropout_loss(student, teacher).item())
    assert values[0] == values[1] != values[2]


def test_autocast_leaves_the_losses_as_they_are() -> None:
    logits, codes = (
        (draw(5, 7).float(), draw(5, 7, seed=1).float()),
        (draw(2, 3, 2, 2).float(), draw(2, 3, 2, 2).float() + 1),
    )
    expected = logit_dropout_loss(*logits, generator=seeded()), feature_dropout_loss(*codes, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = logit_dropout_loss(*logits, generator=seeded()), feature_dropout_loss(*codes, generator=seeded())
    assert found == expected
