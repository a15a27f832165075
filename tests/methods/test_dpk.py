"""DPK: its definition written slowly, the ratio that CKA sets, and any pair of networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from map_pairs import CNN, EACH_PAIR, LARGE_CNN, ROOT, VIT, answer, check_learning, check_recipe, labels, make_pair
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.methods import build_method
from dropkd.methods.dpk import DPK
from dropkd.methods.hybrid_tokens import PatchDecoder, PatchEncoder, choose_patch, draw_prior
from dropkd.metrics import MinibatchCKA
from dropkd.models import build_network
from dropkd.testing import check_method

SQUARE = make_pair([(8, 6, 6)], [(10, 6, 6)])


def run(method: Any, images: int = 5, student: Outputs | None = None, seed: int = 0) -> Tensor:
    """Return the term for random answers, the maps of a student where they are given."""
    torch.manual_seed(seed)
    student = student or answer(method.pair.student, images, seed=1)
    loss: Tensor = method(student, answer(method.pair.teacher, images, seed=2), labels(images))["feature"]
    return loss


def encode_slowly(encoder: PatchEncoder, feature_map: Tensor, patch: int) -> Tensor:
    """Return the tokens of a map, patch by patch, filled up with zeros at its lower and right edge."""
    images, channels, height, width = feature_map.shape
    tokens = []
    for top in range(0, height, patch):
        for left in range(0, width, patch):
            cell = torch.zeros(images, channels, patch, patch)
            part = feature_map[:, :, top : top + patch, left : left + patch]
            cell[:, :, : part.shape[2], : part.shape[3]] = part
            tokens.append(torch.einsum("bchw,dchw->bd", cell, encoder.embed.weight) + encoder.embed.bias)
    return encoder.blocks(torch.stack(tokens, dim=1) + encoder.position)


def decode_slowly(decoder: PatchDecoder, tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    values = decoder.restore(decoder.blocks(tokens))
    columns = -(-grid[1] // patch)
    result = torch.zeros(len(tokens), values.shape[2] // patch**2, *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            token = values[:, row // patch * columns + column // patch].unflatten(1, (-1, patch, patch))
            result[:, :, row, column] = token[:, :, row % patch, column % patch]
    return result


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("grid", "patch"), [((6, 6), 1), ((6, 6), 2), ((5, 7), 3), ((1, 1), 1)])
def test_the_term_is_its_slow_definition(grid: tuple[int, int], patch: int, normalize: bool) -> None:
    pair = make_pair([(8, *grid)], [(10, *grid)])
    method = DPK(pair, ratio=0.4, patch=patch, normalize_target=normalize)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    torch.manual_seed(7)
    loss = method(student, teacher, labels())["feature"]
    stage, theirs = method.hybrids[0], teacher.maps[0]
    tokens = [encode_slowly(stage.student, student.maps[0], patch), encode_slowly(stage.teacher, theirs, patch)]
    torch.manual_seed(7)
    prior = draw_prior(3, tokens[0].shape[1], 0.4)
    hybrid = prior.unsqueeze(2) * tokens[1] + ~prior.unsqueeze(2) * tokens[0]
    if normalize:
        theirs = (theirs - theirs.mean(dim=1, keepdim=True)) / (
            theirs.var(dim=1, keepdim=True, correction=0) + 1e-5
        ).sqrt()
    expected = (decode_slowly(stage.decoder, hybrid, grid, patch) - theirs).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "share", "count"),
    [(16, 0.0, 0), (16, 0.5, 8), (16, 0.53, 8), (16, 0.54, 9), (16, 1.0, 15), (3, 0.9, 2), (1, 1.0, 0), (49, 0.15, 7)],
)
def test_the_teacher_gives_as_many_tokens_as_the_share_rounds_to_and_never_all(
    tokens: int, share: float, count: int
) -> None:
    assert draw_prior(5, tokens, share).sum(dim=1).tolist() == [count] * 5
    assert torch.equal(draw_prior(5, tokens, torch.tensor(share)).sum(dim=1), torch.full((5,), count))


def test_the_teachers_tokens_are_drawn_anew_for_each_image_and_all_places_are_alike() -> None:
    torch.manual_seed(0)
    draws = draw_prior(20_000, 8, 0.25).double()
    assert (draws.mean(dim=0) - 0.25).abs().max() < 0.015
    together = draws.T @ draws / len(draws)
    pairs = together[~torch.eye(8, dtype=torch.bool)]
    assert (pairs - 2 / 8 * 1 / 7).abs().max() < 0.01


def correlated(pair: Pair, noise: float, images: int = 32, seed: int = 0) -> tuple[Outputs, Outputs]:
    """Return answers whose maps share as much as the noise leaves."""
    teacher = answer(pair.teacher, images, seed).detach()
    student = answer(pair.student, images, seed + 100).detach()
    projection = torch.randn(10, 8, generator=torch.Generator().manual_seed(5))
    shared = torch.einsum("bchw,cd->bdhw", teacher.maps[0], projection)
    return student._replace(maps=(shared + noise * student.maps[0],)), teacher


def test_the_share_is_1_minus_the_minibatch_cka_of_the_maps() -> None:
    shares = []
    for noise in (0.0, 3.0, 6.0, 1000.0):
        method, cka = DPK(SQUARE, momentum=0.0), MinibatchCKA()
        student, teacher = correlated(SQUARE, noise)
        cka.update(student.maps[0], teacher.maps[0])
        expected = 1 - cka.compute().clamp(0, 1).float()
        torch.testing.assert_close(method._find_share(0, student.maps[0], teacher.maps[0]), expected)
        shares.append(expected.item())
    assert shares == sorted(shares)
    assert 0.2 < shares[1] < shares[2] < 1


def test_the_criteria_of_cka_are_averaged_over_batches_before_they_are_divided() -> None:
    method, cka = DPK(SQUARE, momentum=0.999), MinibatchCKA()
    for seed in range(4):
        student, teacher = correlated(SQUARE, noise=seed * 3.0, seed=seed)
        cka.update(student.maps[0], teacher.maps[0])
        share = method._find_share(0, student.maps[0], teacher.maps[0])
    # With that momentum all batches weigh alike, but for a few thousandths.
    torch.testing.assert_close(share, 1 - cka.compute().float(), rtol=0.01, atol=0.0)


def test_later_batches_move_the_running_share_by_the_momentum() -> None:
    method, alone = DPK(SQUARE, momentum=0.75), DPK(SQUARE, momentum=0.0)
    criteria = []
    for seed in range(3):
        maps = [side.maps[0] for side in correlated(SQUARE, noise=3.0, seed=seed)]
        method._find_share(0, *maps)
        alone._find_share(0, *maps)
        criteria.append(alone.criteria[0].clone())
    expected = 0.25 * (0.75**2 * criteria[0] + 0.75 * criteria[1] + criteria[2])
    torch.testing.assert_close(method.criteria[0], expected)


def test_networks_that_see_alike_get_no_prior_and_strangers_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def watch(images: int, tokens: int, share: Any, device: Any = None) -> Tensor:
        prior = draw_prior(images, tokens, share, device)
        counts.append(int(prior[0].sum()))
        return prior

    monkeypatch.setattr("dropkd.methods.hybrid_tokens.draw_prior", watch)
    pair = make_pair([(10, 6, 6)], [(10, 6, 6)])
    same = answer(pair.teacher, 8, seed=2)
    DPK(pair)(same, same, labels(8))
    run(DPK(SQUARE, momentum=0.0), images=64)
    run(DPK(SQUARE, ratio=1.0))
    assert counts[0] == 0
    assert counts[1] > 27
    assert counts[2] == 35


def test_features_that_do_not_vary_or_overflow_leave_a_finite_term_and_running_means() -> None:
    method = DPK(SQUARE, momentum=0.0)
    flat = Outputs(torch.zeros(5, 10), (torch.ones(5, 8, 6, 6),), torch.zeros(5, 8))
    assert run(method, student=flat).isfinite()
    assert method._find_share(0, flat.maps[0], answer(SQUARE.teacher, 5).maps[0]) == 1.0
    run(method)
    before = method.criteria.clone()
    run(method, student=flat._replace(maps=(torch.full((5, 8, 6, 6), torch.inf),)))
    assert method.criteria.isfinite().all()
    assert torch.equal(method.criteria[0, :2], before[0, :2])


def test_no_gradient_flows_through_the_share_and_evaluation_leaves_it() -> None:
    method = DPK(SQUARE)
    student = answer(SQUARE.student, 5, seed=1)
    share = method._find_share(0, student.maps[0], answer(SQUARE.teacher, 5, seed=2).maps[0])
    assert isinstance(share, Tensor)
    assert not share.requires_grad
    before = method.criteria.clone()
    run(method.eval(), student=answer(SQUARE.student, 5, seed=9))
    assert torch.equal(method.criteria, before)
    assert "criteria" in method.state_dict()


def test_given_tokens_teach_the_students_encoder_nothing_and_its_own_do() -> None:
    method = DPK(SQUARE, ratio=1.0, depth=1)
    student = answer(SQUARE.student, 5, seed=1)
    run(method, student=student).backward()
    reached = (student.maps[0].grad != 0).any(dim=1).flatten(1).sum(dim=1)
    assert student.maps[0].grad.any()
    assert set(reached.tolist()) <= {1, 36}
    everything = answer(SQUARE.student, 5, seed=1)
    run(DPK(SQUARE, ratio=0.0, depth=1), student=everything).backward()
    assert (everything.maps[0].grad != 0).any(dim=1).all()


@EACH_PAIR
@pytest.mark.parametrize("stages", ["deepest", "all"])
def test_any_pair_teaches(pair: Pair, stages: Any) -> None:
    check_learning(DPK(pair, stages=stages, depth=1), images=4)
    check_learning(DPK(pair, stages=stages, depth=1, ratio=0.5), images=1)


def test_training_brings_the_term_down() -> None:
    torch.manual_seed(0)
    pair = make_pair([(8, 3, 3)], [(10, 3, 3)])
    method, student, teacher = DPK(pair, depth=1), answer(pair.student, 8, seed=1), answer(pair.teacher, 8, seed=2)
    optimizer = torch.optim.Adam([*student.maps, *method.parameters()], lr=0.01)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = method(student, teacher, labels(8))["feature"]
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-10:]) < 0.5 * history[0]


def test_stages_are_averaged_from_the_deep_end() -> None:
    pair = make_pair(CNN, LARGE_CNN)
    method = DPK(pair, stages="all", ratio=0.0)
    parts = []
    for number in (1, 2, 3):
        one = DPK(make_pair([CNN[-number]], [LARGE_CNN[-number]]), ratio=0.0)
        one.hybrids[0].load_state_dict(method.hybrids[number - 1].state_dict())
        sides = (answer(pair.student, 5, seed=1), answer(pair.teacher, 5, seed=2))
        maps = [side._replace(maps=side.maps[-number:][:1]) for side in sides]
        parts.append(one(*maps, labels(5))["feature"])
    torch.testing.assert_close(run(method), torch.stack(parts).mean())
    assert len(DPK(pair).hybrids) == 1
    assert len(DPK(pair, stages=2).hybrids) == 2


def test_maps_are_pooled_to_the_common_grid() -> None:
    pair = make_pair(CNN, VIT)
    method = DPK(pair, ratio=0.0)
    student, teacher = answer(pair.student, seed=1), answer(pair.teacher, seed=2)
    pooled = teacher._replace(maps=(F.adaptive_avg_pool2d(teacher.maps[-1], (4, 4)),))
    assert torch.equal(method(student, teacher, labels())["feature"], method(student, pooled, labels())["feature"])


@pytest.mark.parametrize(
    ("grid", "patch"), [((1, 1), 1), ((8, 8), 1), ((9, 2), 2), ((14, 14), 2), ((56, 56), 7), ((10, 5), 2)]
)
def test_patches_keep_the_tokens_of_a_map_few(grid: tuple[int, int], patch: int) -> None:
    assert choose_patch(grid) == patch
    method = DPK(make_pair([(8, *grid)], [(10, *grid)]))
    tokens = method.hybrids[0].student.position.shape[1]
    assert tokens == -(-grid[0] // patch) * -(-grid[1] // patch) <= 64


@pytest.mark.parametrize(
    ("channels", "options", "width"),
    [(64, {}, 64), (2048, {}, 256), (30, {}, 28), (2, {}, 4), (64, {"width": 24}, 24), (30, {"heads": 5}, 30)],
)
def test_tokens_are_as_wide_as_the_students_map_within_bounds(channels: int, options: Any, width: int) -> None:
    method = DPK(make_pair([(channels, 2, 2)], [(10, 2, 2)]), **options)
    assert method.hybrids[0].student.position.shape[2] == width


def test_depth_is_that_of_each_encoder_and_of_the_decoder() -> None:
    stage = DPK(SQUARE, depth=3).hybrids[0]
    assert [len(part.blocks) - 1 for part in (stage.student, stage.teacher, stage.decoder)] == [3, 3, 3]


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("method.width must be a multiple of method.heads (4), got 30.")):
        build_method("dpk", SQUARE, {"width": 30})


def test_the_dynamic_ratio_needs_four_images_and_a_fixed_one_does_not() -> None:
    method, fixed = DPK(SQUARE), DPK(SQUARE, ratio=0.5)
    assert (method.least_batch, fixed.least_batch) == (4, 1)
    with pytest.raises(
        ConfigError, match="CKA, by which DPK sets its ratio, needs at least 4 images in a batch, got 3"
    ):
        run(method, images=3)
    assert run(fixed, images=1).isfinite()


@pytest.mark.parametrize("ratio", [-0.1, 1.1, "static"])
def test_a_ratio_that_is_no_share_is_refused(ratio: Any) -> None:
    with pytest.raises(ConfigError, match=r"method\.ratio must be .*'dynamic'.* got"):
        build_method("dpk", SQUARE, {"ratio": ratio})


def test_the_recipe_spells_out_the_defaults() -> None:
    config = check_recipe("dpk")
    assert config.method.options == {
        "ratio": "dynamic", "momentum": 0.9, "stages": "deepest", "normalize_target": True, "depth": 2, "width": 64,
        "heads": 4, "patch": 1,
    }  # fmt: skip


def test_the_page_names_the_weight_that_is_the_default() -> None:
    page = Path(ROOT / "docs" / "dpk.md").read_text(encoding="utf-8")
    assert f"loss     CE + {DPK.terms['feature']:g} feature" in page


def test_it_trains_as_many_parameters_as_its_docstring_says() -> None:
    student, teacher = (build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)) for n in (20, 56))
    method = build_method("dpk", Pair(student.shapes, teacher.shapes, 100), {})
    count = sum(parameter.numel() for parameter in method.parameters())
    assert f"{count:,} parameters for cifar_resnet56 -> cifar_resnet20" in " ".join((DPK.__doc__ or "").split())


OTHER_OPTIONS: list[dict[str, Any]] = [
    {"ratio": 0.5, "depth": 1},
    {"ratio": 1.0, "stages": "all", "depth": 1, "patch": 3, "momentum": 0.0},
    {"normalize_target": False, "depth": 1, "width": 6, "heads": 3, "stages": 2},
]


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=str)
def test_it_keeps_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_method(DPK, options)
