"""OFA-KD: the authors' branches and values, branches for any student, its exponents, and its freezing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from logit_pairs import load_recipe
from map_pairs import (
    CNN,
    EACH_PAIR,
    LARGE_VIT,
    MANIFEST,
    VIT,
    check_close,
    check_learning,
    golden_cases,
    labels,
    load_golden,
    make_pair,
    run,
)
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import ofa_loss
from dropkd.methods import build_method
from dropkd.methods.exits import TokenBlock, TokenExit, TokenMerge
from dropkd.methods.ofakd import OFAKD
from dropkd.models import build_network
from dropkd.testing import check_method

BRANCHES = "ofa_branches_f64_b3"


def build(pair: Pair, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_method("ofakd", pair, options)


def _load_branches() -> tuple[Any, dict[str, Tensor], Outputs, Outputs, Batch]:
    """Return the method with the weights of the golden case, the case, both answers and the batch."""
    arrays, hyper = load_golden(BRANCHES), MANIFEST[BRANCHES]["hyper"]
    maps = tuple(arrays[f"in_student{stage}"].requires_grad_() for stage in range(4))
    student = Outputs(arrays["in_student_logits"].requires_grad_(), maps, maps[0].new_zeros(3, 10))
    teacher = Outputs(arrays["in_teacher_logits"], (), maps[0].new_zeros(3, hyper["feature_dim_teacher"]))
    method = build(Pair(student.shapes, teacher.shapes, 7), gamma=hyper["eps"], temperature=hyper["T"]).double()
    named = {name[9:].replace("__", "."): array for name, array in arrays.items() if name.startswith("par_proj_")}
    weights = {f"{int(name[0]) - 1}{name[1:]}": array for name, array in named.items()}
    left = method.branches.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert all("running" in key or "num_batches" in key for key in left.missing_keys)
    target = arrays["in_target"]
    return method, arrays, student, teacher, Batch(target, torch.arange(3))


def test_branches_of_a_convolutional_student_are_those_of_the_authors_code() -> None:
    method, arrays, student, _, _ = _load_branches()
    for stage, (branch, feature_map) in enumerate(zip(method.branches, student.maps, strict=True), start=1):
        check_close(BRANCHES, branch(feature_map), arrays[f"out_branch_logits{stage}"])


def test_values_and_gradients_are_those_of_the_authors_code() -> None:
    method, arrays, student, teacher, batch = _load_branches()
    terms = method(student, teacher, batch)
    check_close(BRANCHES, terms["logit"], arrays["out_loss_kd"])
    check_close(BRANCHES, terms["stages"], arrays["out_loss_ofa"])
    loss = F.cross_entropy(student.logits, batch.target) + terms["logit"] + terms["stages"]
    check_close(BRANCHES, loss, arrays["out_loss"])
    loss.backward()
    leaves = {f"student{stage}": feature_map for stage, feature_map in enumerate(student.maps)}
    leaves |= {"student_logits": student.logits}
    leaves |= {"proj_4__0__weight": method.branches[3][0].weight, "proj_1__5__weight": method.branches[0][5].weight}
    expected = {name[14:]: array for name, array in arrays.items() if name.startswith("grad_loss_wrt_")}
    assert len(expected) == 5
    for name, array in expected.items():
        check_close(BRANCHES, leaves[name].grad, array)


@pytest.mark.parametrize("name", golden_cases("OFA"))
def test_the_term_logit_is_the_loss_of_the_authors_code(name: str) -> None:
    arrays, hyper = load_golden(name), MANIFEST[name]["hyper"]
    student = arrays["in_student"].requires_grad_()
    shapes = Shapes(student.shape[1], ((4, 2, 2),), 4)
    method = build(Pair(shapes, shapes, student.shape[1]), gamma=hyper["eps"], temperature=hyper["T"])
    method.restrict_terms(["logit"])
    empty = student.detach()[:, :1, None, None]
    answers = (Outputs(logits, (empty,), empty) for logits in (student, arrays["in_teacher"]))
    loss = method(*answers, Batch(arrays["in_target"], torch.arange(len(student))))["logit"]
    expected = arrays["out_loss"] if MANIFEST[name]["finite"] else arrays["ref_loss"].to(loss.dtype)
    check_close(name, loss, expected)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.isfinite().all()
    if MANIFEST[name]["compare_grads"]:
        check_close(name, gradient, arrays["grad_loss_wrt_student"])


@EACH_PAIR
@pytest.mark.parametrize("branches", ["auto", "convolutions", "tokens"])
def test_any_pair_teaches(pair: Pair, branches: str) -> None:
    check_learning(build(pair, branches=branches, stage_gamma=1.5))


@pytest.mark.parametrize(
    "options",
    [{"branches": "tokens", "gamma": 1.5}, {"stages": "deepest", "stage_gamma": [2.0]}, {"stages": 2}],
    ids=str,
)
def test_the_contract_holds_with_other_options(options: dict[str, Any]) -> None:
    check_method(OFAKD, options)


def test_a_student_with_one_grid_gets_tokens_and_one_with_several_convolutions() -> None:
    assert all(isinstance(branch, TokenExit) for branch in build(make_pair(VIT, CNN)).branches)
    assert not any(isinstance(branch, TokenExit) for branch in build(make_pair(CNN, VIT)).branches)
    assert not any(isinstance(branch, TokenExit) for branch in build(make_pair(CNN[:1], VIT)).branches)
    assert not any(isinstance(b, TokenExit) for b in build(make_pair(VIT, CNN), branches="convolutions").branches)
    swin = make_pair(((6, 28, 28), (12, 14, 14), (24, 7, 7)), CNN)
    merges = [[m.linear.out_features for m in b.merges] for b in build(swin, branches="tokens").branches]
    assert merges == [[24, 24], [24], []]


def test_a_branch_halves_once_for_each_stage_left_and_doubles_up_to_the_wider_embedding() -> None:
    widths = [[layer.op[5].weight.shape[:2] for layer in b[:-3]] for b in build(make_pair(CNN, VIT)).branches[:-1]]
    assert widths == [[(16, 8), (24, 16)], [(24, 16)]]
    assert build(make_pair(CNN, VIT)).branches[-1][0].weight.shape == (24, 24, 1, 1)
    wide_teacher = build(make_pair(CNN, LARGE_VIT))
    assert [branch[-1].weight.shape for branch in wide_teacher.branches] == [(10, 28)] * 3
    many = build(make_pair(((4, 32, 32),) * 2 + ((4, 16, 16),) * 5, VIT), stages="all")
    assert [len(branch) - 3 for branch in many.branches] == [3, 3, 3, 3, 2, 1, 1]


def test_blocks_and_merges_of_tokens_follow_the_stages_left_and_the_grid() -> None:
    branches = build(make_pair(((8, 28, 28),) * 4, CNN)).branches
    assert [len(branch.blocks) for branch in branches] == [3, 2, 1, 1]
    assert [len(branch.blocks) for branch in build(make_pair(((8, 7, 7),) * 6, CNN)).branches] == [3, 3, 3, 2, 1, 1]
    assert [[type(m.activation) for m in branch.merges] for branch in branches] == [[nn.GELU, nn.Identity]] * 4
    for grid, activations in (
        (13, []),
        (14, [nn.GELU]),
        (55, [nn.GELU, nn.Identity]),
        (56, [nn.GELU] * 2 + [nn.Identity]),
    ):
        branch = TokenExit(4, (grid, grid), 8, 3, 1)
        assert [type(m.activation) for m in branch.merges] == activations
        assert branch(torch.rand(2, 4, grid, grid)).shape == (2, 3)


def test_a_merge_puts_the_four_tokens_of_a_square_together() -> None:
    merge = TokenMerge(3, 5, activated=False)
    feature_map = torch.randn(2, 3, 4, 6)
    square = feature_map[1, :, 2:4, 4:6].reshape(-1)  # channel by channel, each in reading order
    expected = merge.linear(F.layer_norm(square, (12,)))
    torch.testing.assert_close(merge(feature_map)[1, :, 1, 2], expected)
    odd = merge(torch.ones(1, 3, 3, 5))
    assert odd.shape == (1, 5, 2, 3)
    whole, halved = torch.ones(12), torch.tensor([1.0, 0.0] * 6)  # the last column stands beside zeros
    torch.testing.assert_close(odd[0, :, 0, 0], merge.linear(F.layer_norm(whole, (12,))))
    torch.testing.assert_close(odd[0, :, 0, 2], merge.linear(F.layer_norm(halved, (12,))))


def test_tokens_have_no_places_and_are_averaged() -> None:
    branch, feature_map = TokenExit(8, (5, 6), 8, 3, 2).double(), torch.randn(2, 8, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(branch(feature_map), branch(feature_map.flip(2, 3)))


def test_a_block_is_attention_and_a_wider_layer_each_after_a_norm_and_added() -> None:
    block, tokens = TokenBlock(8).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    weight, normed = block.query_key_value.weight, F.layer_norm(tokens, (8,))
    mixed = torch.zeros_like(tokens)
    for head in range(4):
        rows = slice(2 * head, 2 * head + 2)
        query, key, value = (normed @ part[rows].T for part in weight.chunk(3))
        mixed[..., rows] = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(2), dim=2) @ value
    tokens_after = tokens + block.output(mixed)
    expected = tokens_after + block.mlp[2](F.gelu(block.mlp[0](F.layer_norm(tokens_after, (8,)))))
    torch.testing.assert_close(block(tokens), expected)
    assert [TokenBlock(width).heads for width in (12, 10, 9)] == [4, 2, 1]


def test_branches_start_as_the_authors_start_them() -> None:
    torch.manual_seed(0)
    branches = OFAKD(make_pair(((64, 8, 8), (128, 4, 4)), VIT)).branches
    pointwise, linear = branches[0][0].op[5].weight, branches[0][-1]
    assert pointwise.shape[:2] == (128, 64)
    assert pointwise.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not linear.bias.any()
    assert not branches[1][0].bias.any()


def test_gammas_are_one_for_all_or_one_for_each_stage_from_shallow_to_deep() -> None:
    pair = make_pair(CNN, VIT)
    assert build(pair, gamma=1.5).stage_gammas == (1.5, 1.5, 1.5)
    assert build(pair, gamma=1.5, stage_gamma=2.0).stage_gammas == (2.0, 2.0, 2.0)
    method = build(pair, gamma=1.25, stage_gamma=[1.0, 2.0, 3.0], temperature=2.0)
    terms, student, teacher = run(method)
    target = labels().target
    torch.testing.assert_close(terms["logit"], ofa_loss(student.logits, teacher.logits, target, 1.25, 2.0))
    exits = zip(method.branches, student.maps, (1.0, 2.0, 3.0), strict=True)
    losses = [ofa_loss(branch(m), teacher.logits, target, gamma, 2.0) for branch, m, gamma in exits]
    torch.testing.assert_close(terms["stages"], torch.stack(losses).sum())
    with pytest.raises(ConfigError, match=r"stage_gamma holds 2 numbers, \[1.0, 2.0\], but 3 of the student's stages"):
        build(pair, stage_gamma=[1.0, 2.0])
    with pytest.raises(ConfigError, match=r"method\.stage_gamma must be a number, at least 1 or a list, each a number"):
        build(pair, stage_gamma=[0.5, 1.0, 1.0])


def test_gamma_1_is_the_cross_entropy_with_the_teachers_probabilities() -> None:
    terms, student, teacher = run(build(make_pair(CNN, VIT)))
    expected = F.cross_entropy(student.logits, torch.softmax(teacher.logits, dim=1))
    torch.testing.assert_close(terms["logit"], expected)


def test_stages_are_counted_from_the_deep_end() -> None:
    pair = make_pair(CNN, VIT)
    assert len(build(pair, stages="deepest").branches) == 1
    for count, shallow in ((1, 2), (2, 1), (3, 0)):
        terms, student, _ = run(build(pair, stages=count))
        terms["stages"].backward()
        assert [m.grad is None for m in student.maps] == [True] * shallow + [False] * count
    with pytest.raises(ConfigError, match=r"method\.stages is 4, but the student gives 3 feature maps"):
        build(pair, stages=4)


def test_branches_are_frozen_where_only_the_logits_are_compared() -> None:
    method = build(make_pair(CNN, VIT))
    method.restrict_terms(["logit"])
    assert not any(p.requires_grad for p in method.parameters())
    method.restrict_terms(["stages"])
    assert all(p.requires_grad for p in method.parameters())
    assert set(run(method)[0]) == {"stages"}


def test_a_branch_that_comes_down_to_one_cell_says_that_it_needs_two_images() -> None:
    small = make_pair(((8, 4, 4), (16, 2, 2), (32, 1, 1)), VIT)
    method = build(small)
    assert method.least_batch == 2
    with pytest.raises(ConfigError, match=r"one cell needs at least 2 images in a batch, got 1\. Raise training"):
        run(method, images=1)
    assert set(run(method.eval(), images=1)[0]) == {"logit", "stages"}
    for pair in (make_pair(CNN, VIT), make_pair(VIT, CNN)):
        assert build(pair).least_batch == 1
        check_learning(build(pair), images=1)


def test_a_student_without_maps_is_refused_with_a_way_out() -> None:
    shapes = Shapes(10, (), 5)
    with pytest.raises(ModelError, match=r"the student gives no feature maps.*such as kd"):
        OFAKD(Pair(shapes, shapes, 10))


def test_published_defaults_and_the_number_of_parameters() -> None:
    assert OFAKD.terms == {"logit": 1.0, "stages": 1.0}
    student, teacher = (
        build_network(f"cifar_resnet{n}", num_classes=100, image_size=(32, 32)).shapes for n in (20, 56)
    )
    method = build(Pair(student, teacher, 100))
    assert (method.gamma, method.stage_gammas, method.temperature) == (1.0, (1.0, 1.0, 1.0), 1.0)
    count = sum(p.numel() for p in method.parameters())
    assert count == 32_492
    assert f"{count:,} parameters for" in (OFAKD.__doc__ or "").replace("\n    ", " ")


def test_the_recipe_is_the_authors_cifar_run() -> None:
    config = load_recipe("ofakd")
    assert config.method.weights == {"cross_entropy": 1.0, "logit": 1.0, "stages": 0.1}
    training = config.training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (300, 1024, 0.1, 2e-3)
    assert (training.schedule, training.warmup_epochs, training.label_smoothing) == ("cosine", 3, 0.1)
