"""Self-cure: the authors' values, which labels change and when, and what can't be relabelled."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scn_process
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dropkd
from dropkd.config import load_config
from dropkd.contracts import Batch, LabelChange, Outputs, Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError, ModelError
from dropkd.methods import method_options
from dropkd.methods.scn import SCN
from dropkd.models import build_network
from dropkd.testing import check_method

GOLDEN = Path(__file__).parents[1] / "golden"
RECIPES = Path(__file__).parents[2] / "recipes" / "methods"
CASES = [case for case in json.loads((GOLDEN / "manifest.json").read_text())["cases"] if case["method"] == "SCN"]
SAMPLES = 12
SHAPES = Shapes(4, ((6, 2, 2),), 6)


def build(samples: int = SAMPLES, shapes: Shapes = SHAPES, **options: Any) -> SCN:
    torch.manual_seed(0)
    return SCN(Pair(shapes, None, shapes.logits, torch.arange(samples) % shapes.logits), **options).train()


def answer(rows: int = SAMPLES, seed: int = 0, scale: float = 5.0) -> Outputs:
    source = torch.Generator().manual_seed(seed)
    logits, embedding = torch.randn(rows, 4, generator=source), torch.randn(rows, 6, generator=source)
    return Outputs(scale * logits, (), embedding)


def labels(epoch: int = 0, rows: int = SAMPLES) -> Batch:
    return Batch(torch.arange(rows) % 4, torch.arange(rows), epoch)


def doubt(wanted: list[int], sure: float = 9.0, embedding: Tensor | None = None) -> Outputs:
    """Return an answer that is sure of these classes."""
    logits = sure * F.one_hot(torch.tensor(wanted), 4).float()
    return Outputs(logits, (), torch.zeros(len(wanted), 6) if embedding is None else embedding)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_terms_gradients_and_new_labels_are_those_of_the_authors_code(case: dict[str, Any]) -> None:
    with np.load(GOLDEN / case["file"]) as file:
        x = {name: torch.from_numpy(file[name]) for name in file}
    index, width, dtype = x["in_index"], x["in_feature"].shape[1], x["in_feature"].dtype
    targets = torch.zeros(int(index.max()) + 1, dtype=torch.int64)
    targets[index] = x["in_target"]
    pair = Pair(Shapes(7, (), width), None, 7, targets)
    method = SCN(pair, margin=case["hyper"]["margin_1"], relabel_epoch=1).to(dtype).train()
    head = nn.Linear(width, 7).to(dtype)
    for layer, name in ((method.attend, "alpha"), (head, "fc")):
        layer.load_state_dict({part: x[f"par_{name}_{part}"] for part in ("weight", "bias")})
    feature = x["in_feature"].requires_grad_()
    terms = method(Outputs(head(feature), (), feature), None, Batch(x["in_target"], index))
    near = case["tolerance"]
    for name, value in (("wce", terms["weighted_cross_entropy"]), ("rr_loss", terms["rank"])):
        torch.testing.assert_close(value, x[f"out_{name}"].to(value.dtype), **near)
    (terms["weighted_cross_entropy"] + terms["rank"]).backward()
    # Where all weights are equal, the groups and with them the gradients are as they happen to be sorted.
    if case["compare_grads"]:
        torch.testing.assert_close(feature.grad, x["grad_loss_wrt_feature"], **near)
        for layer, name in ((method.attend, "alpha"), (head, "fc")):
            for part in ("weight", "bias"):
                torch.testing.assert_close(getattr(layer, part).grad, x[f"grad_loss_wrt_{name}_{part}"], **near)
    method.end_epoch(0)
    assert torch.equal(method.labels[index], x["out_new_target"])


@pytest.mark.parametrize("relabel", ["all", "low"])
@pytest.mark.parametrize("rows", [3, 7, 12])
def test_terms_and_new_labels_are_those_of_a_slow_definition(relabel: str, rows: int) -> None:
    method, student, batch = build(relabel=relabel, relabel_epoch=1, margin=0.5), answer(rows), labels(rows=rows)
    terms = method(student, None, batch)
    weight, bias = (p.detach().double().numpy().ravel() for p in method.attend.parameters())
    alpha, entropy, shares = [], [], []
    for i in range(rows):
        alpha.append(1 / (1 + np.exp(-(student.embedding[i].double().numpy() @ weight + bias[0]))))
        odds = np.exp(alpha[i] * student.logits[i].double().numpy())
        shares.append(odds / odds.sum())
        entropy.append(-np.log(shares[i][i % 4]))
    order, sure = np.argsort(-np.array(alpha)), int(0.7 * rows)
    gap = np.mean([alpha[i] for i in order[:sure]]) - np.mean([alpha[i] for i in order[sure:]])
    assert terms["weighted_cross_entropy"].item() == pytest.approx(np.mean(entropy), rel=1e-5)
    assert terms["rank"].item() == pytest.approx(max(0.0, 0.5 - gap), rel=1e-5)
    doubted = [i for i in range(rows) if shares[i].max() - shares[i][i % 4] > 0.2]
    changed = [i for i in doubted if relabel == "all" or i in order[sure:]]
    assert [change.index for change in method.end_epoch(0)] == changed
    assert [int(method.labels[i]) for i in changed] == [int(np.argmax(shares[i])) for i in changed]
    if rows == 12:
        assert 0 < len(changed) < 12


def test_labels_change_from_the_tenth_epoch_on_and_not_before() -> None:
    method = build()
    for epoch in range(9):
        method(answer(), None, labels(epoch))
        assert method.end_epoch(epoch) == []
    method(answer(), None, labels(9))
    assert method.end_epoch(9)


def test_a_change_is_reported_and_takes_effect_in_the_next_epoch_alone() -> None:
    method = build(relabel_epoch=1)
    wanted = [0, 1, 2, 3] * 3
    wanted[5], wanted[10] = 3, 0
    method(doubt(wanted), None, labels(0))
    assert method.targets(labels(0)).tolist() == [0, 1, 2, 3] * 3
    assert method.end_epoch(0) == [LabelChange(5, 1, 3), LabelChange(10, 2, 0)]
    assert method.targets(labels(1)).tolist() == wanted
    loss = method(doubt(wanted), None, labels(1))["weighted_cross_entropy"]
    alpha = torch.sigmoid(method.attend.bias)
    torch.testing.assert_close(loss, F.cross_entropy(alpha * doubt(wanted).logits, torch.tensor(wanted)))
    assert method.end_epoch(1) == []
    assert method.pair.targets is not None
    assert method.pair.targets.tolist() == [0, 1, 2, 3] * 3


def test_a_label_can_change_back() -> None:
    method = build(relabel_epoch=1)
    for epoch, wanted in enumerate(([1, 1, 2, 3], [0, 1, 2, 3])):
        method(doubt(wanted), None, labels(epoch, rows=4))
        changes = method.end_epoch(epoch)
        # Another process would take what is left over for a proposal of the next epoch.
        assert method.proposed.tolist() == [-1] * SAMPLES
    assert changes == [LabelChange(0, 1, 0)]


def test_a_loop_that_never_ends_an_epoch_gets_its_changes_with_the_first_batch_of_the_next() -> None:
    method = build(relabel_epoch=1)
    method(doubt([3, 1, 2, 3]), None, labels(0, rows=4))
    method(doubt([3, 1, 2, 3]), None, labels(0, rows=4))
    assert method.targets(labels(0, rows=4)).tolist() == [0, 1, 2, 3]
    assert method.targets(labels(1, rows=4)).tolist() == [3, 1, 2, 3]
    other = build(relabel_epoch=1)
    other(doubt([3, 1, 2, 3]), None, labels(0, rows=4))
    loss = other(doubt([3, 1, 2, 3]), None, labels(1, rows=4))["weighted_cross_entropy"]
    assert loss < 0.05


def test_the_margin_is_how_much_likelier_another_class_must_be() -> None:
    # A weight of 1/2: sigmoid of a layer of zeros.
    logits = 2 * torch.tensor([[0.3, 0.5, 0.2], [0.25, 0.5, 0.25]]).log()
    for margin, changed in ((0.19, [0, 1]), (0.21, [1]), (0.26, [])):
        method = SCN(Pair(Shapes(3, (), 2), None, 3, torch.zeros(2, dtype=torch.int64)), relabel_margin=margin)
        method.relabel_epoch = 1
        nn.init.zeros_(method.attend.weight)
        nn.init.zeros_(method.attend.bias)
        method(Outputs(logits, (), torch.zeros(2, 2)), None, Batch(torch.zeros(2, dtype=torch.int64), torch.arange(2)))
        assert [change.index for change in method.end_epoch(0)] == changed


def test_low_relabels_only_images_of_the_low_group() -> None:
    embedding = torch.linspace(2, -2, 4).unsqueeze(1).repeat(1, 6)
    for relabel, changed in (("all", [0, 1, 2, 3]), ("low", [2, 3])):
        method = build(relabel=relabel, relabel_epoch=1, high_ratio=0.5)
        nn.init.ones_(method.attend.weight)
        method(doubt([1, 2, 3, 0], sure=1e8, embedding=embedding), None, labels(0, rows=4))
        assert [change.index for change in method.end_epoch(0)] == changed


def test_evaluation_keeps_the_original_labels_and_proposes_none() -> None:
    method = build(relabel_epoch=1)
    method(doubt([3, 1, 2, 3]), None, labels(0, rows=4))
    method.end_epoch(0)
    method.eval()
    assert method.targets(labels(1, rows=4)).tolist() == [0, 1, 2, 3]
    method(doubt([3, 3, 3, 3]), None, labels(1, rows=4))
    assert method.end_epoch(1) == []


def test_the_state_goes_on_in_the_middle_of_an_epoch() -> None:
    method, restored = build(relabel_epoch=1), build(relabel_epoch=1)
    method(doubt([3, 1, 2, 3]), None, labels(0, rows=4))
    method.end_epoch(0)
    method(doubt([3, 2, 2, 3]), None, labels(1, rows=4))
    restored.load_state_dict(copy.deepcopy(method.state_dict()))
    assert restored.targets(labels(1, rows=4)).tolist() == [3, 1, 2, 3]
    # The epoch is known again: the proposals of epoch 1 wait for epoch 2.
    assert restored.targets(labels(2, rows=4)).tolist() == method.targets(labels(2, rows=4)).tolist() == [3, 2, 2, 3]
    assert all(isinstance(value, Tensor) for value in method.state_dict().values())


def test_processes_that_see_samples_of_their_own_change_the_same_labels(tmp_path: Path) -> None:
    other = torch.multiprocessing.get_context("spawn").Process(target=scn_process.train, args=(1, tmp_path))
    other.start()
    scn_process.train(0, tmp_path)
    other.join()
    for rank in range(scn_process.PROCESSES):
        end = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        # Samples 0 and 4 look like their class, 0; the first process saw the even ones, in two steps.
        assert end["changes"] == [(i, 0, i % 4) for i in (1, 2, 3, 5, 6, 7)]
        assert end["labels"].tolist() == [0, 1, 2, 3] * 2


def test_weights_get_gradients_from_both_terms_and_carry_them_to_the_embedding() -> None:
    for term in SCN.terms:
        method, student = build(margin=1.0), answer()
        student.embedding.requires_grad_()
        method.restrict_terms([term])
        terms = method(student, None, labels())
        assert terms.keys() == {term}
        terms[term].backward()
        assert all(p.grad is not None and p.grad.any() for p in method.parameters())
        assert student.embedding.grad is not None
        assert student.embedding.grad.any()


def test_without_its_terms_it_changes_nothing() -> None:
    method = build(relabel_epoch=1)
    method.restrict_terms([])
    assert method(doubt([3, 3, 3, 3]), None, labels(0, rows=4)) == {}
    assert method.end_epoch(0) == []


def test_the_engines_cross_entropy_sees_the_changed_labels_where_it_has_a_weight() -> None:
    student = build_network("cifar_resnet8", num_classes=4, image_size=32)
    distiller = Distiller(student, None, "scn", options={"relabel_epoch": 1}, targets=torch.arange(4)).train()
    images, given, method = torch.rand(4, 3, 32, 32), torch.arange(4), distiller.method
    assert distiller.weights["cross_entropy"] == 0
    assert isinstance(method, SCN)
    method.proposed.copy_(torch.tensor([3, -1, -1, 0]))
    method.end_epoch(0)
    losses = distiller(images, given, index=given, epoch=1)
    expected = F.cross_entropy(losses.logits, torch.tensor([3, 1, 2, 0]))
    torch.testing.assert_close(losses.raw["cross_entropy"].detach(), expected)
    assert losses.weighted["cross_entropy"] == 0


def test_samples_that_are_not_known_beforehand_are_refused_unless_labels_never_change() -> None:
    pair = Pair(SHAPES, None, 4)
    with pytest.raises(ConfigError, match=r"must know them beforehand.*targets=LABELS.*method\.relabel=none"):
        SCN(pair)
    method = SCN(pair, relabel="none")
    terms = method(answer(), None, labels(30))
    assert terms.keys() == SCN.terms.keys()
    assert method.end_epoch(30) == ()
    assert not dict(method.named_buffers())


@pytest.mark.parametrize(
    "batch",
    [
        Batch(torch.tensor([1, 2]), torch.tensor([0, 1])),
        Batch(torch.tensor([0, 0]), torch.tensor([0, SAMPLES])),
        Batch(torch.tensor([0, 3]), torch.tensor([0, -1])),
    ],
    ids=["another sample", "beyond the last", "before the first"],
)
def test_numbers_that_do_not_lead_to_the_labels_are_refused(batch: Batch) -> None:
    with pytest.raises(ConfigError, match="SCN knows 12 training samples, but the numbers of this batch do not lead"):
        build()(answer(2), None, batch)


def test_mixtures_are_refused_unless_labels_never_change() -> None:
    shares = torch.full((SAMPLES, 4), 0.25)
    mixed = Batch(torch.arange(SAMPLES) % 4, torch.arange(SAMPLES), 0, shares)
    with pytest.raises(ConfigError, match=r"can't relabel mixtures.*training\.mixup and training\.cutmix to 0"):
        build()(answer(), None, mixed)
    method = build(relabel="none")
    student = answer()
    weighted = torch.sigmoid(method.attend(student.embedding)) * student.logits
    loss = method(student, None, mixed)["weighted_cross_entropy"]
    torch.testing.assert_close(loss, F.cross_entropy(weighted, shares))


@pytest.mark.parametrize(("share", "least"), [(0.7, 2), (0.5, 2), (0.3, 4), (0.01, 100), (1 / 49, 50), (0.99, 2)])
def test_a_batch_must_fill_both_groups(share: float, least: int) -> None:
    method = build(high_ratio=share, samples=128)
    assert method.least_batch == least
    assert method(answer(least), None, labels(rows=least))["rank"].isfinite()
    with pytest.raises(ConfigError, match=r"which leaves a group empty\. Raise training\.batch_size"):
        method(answer(least - 1), None, labels(rows=least - 1))


def test_one_image_is_enough_without_the_rank() -> None:
    method = build(relabel_epoch=1, relabel="low")
    method.restrict_terms(["weighted_cross_entropy"])
    assert method(doubt([2]), None, labels(rows=1))["weighted_cross_entropy"] > 1
    assert method.end_epoch(0) == [LabelChange(0, 0, 2)]


def test_the_deployed_student_has_weighted_logits_and_the_same_best_class() -> None:
    student = build_network("cifar_resnet8", num_classes=4, image_size=32).eval()
    method = build(shapes=student.shapes, samples=4)
    deployed = method.deploy(student).eval()
    images = torch.rand(6, 3, 32, 32)
    with torch.no_grad():
        plain, weighted = student(images), deployed(images)
        alpha = torch.sigmoid(method.attend(plain.embedding))
    torch.testing.assert_close(weighted.logits, alpha * plain.logits)
    assert torch.equal(weighted.logits.argmax(1), plain.logits.argmax(1))
    assert torch.equal(weighted.embedding, plain.embedding)
    nn.init.zeros_(method.attend.weight)
    assert deployed.attend.weight.any()
    with pytest.raises(ModelError, match=r"dropkd\.models\.wrap_model"):
        method.deploy(nn.Flatten())(images)


def test_it_trains_a_linear_layer_to_one_number() -> None:
    student = build_network("cifar_resnet20", num_classes=100, image_size=(32, 32))
    teacher = build_network("cifar_resnet56", num_classes=100, image_size=(32, 32))
    for expert in (None, teacher):
        method = dropkd.Distiller(student, expert, "scn", targets=torch.arange(100)).method
        assert sum(p.numel() for p in method.parameters()) == 65


def test_defaults_and_the_recipe_are_the_published_ones() -> None:
    assert {name: option.default for name, option in method_options(SCN).items()} == {
        "high_ratio": 0.7, "margin": 0.15, "relabel_margin": 0.2, "relabel_epoch": 10, "relabel": "all",
    }  # fmt: skip
    assert (dict(SCN.terms), SCN.cross_entropy_weight) == ({"weighted_cross_entropy": 1, "rank": 1}, 0)
    recipe = load_config(RECIPES / "scn.yaml")
    assert recipe.method.options == {
        "high_ratio": 0.7, "margin": 0.07, "relabel_margin": 0.2, "relabel_epoch": 10, "relabel": "all",
    }  # fmt: skip
    training = recipe.training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (70, 64, 1e-3, 1e-4)
    assert (training.schedule, training.decay_factor, recipe.data.augmentation) == ("exponential", 0.9, "faces-scn")


@pytest.mark.parametrize(
    "options",
    [
        {"relabel": "low", "relabel_epoch": 1, "relabel_margin": 0.0},
        {"high_ratio": 0.2, "margin": 1.0, "relabel_epoch": 2},
        {"relabel": "none"},
    ],
    ids=str,
)
def test_the_contract_is_kept_with_other_options(options: dict[str, Any]) -> None:
    check_method(SCN, options)


@pytest.mark.parametrize("method", ["kd+scn", "scn+eac"])
def test_it_can_be_combined(method: str) -> None:
    student, teacher = (build_network("cifar_resnet8", num_classes=4, image_size=32) for _ in range(2))
    options = {"scn": {"relabel_epoch": 1}}
    distiller = Distiller(student, teacher, method, options=options, targets=torch.arange(4)).train()
    views = len(distiller.method.views)
    images, index = torch.rand(4 * views, 3, 32, 32), torch.arange(4).repeat(views)
    losses = distiller(images, index, index=index)
    assert {"scn_weighted_cross_entropy", "scn_rank"} < losses.raw.keys()
    losses.loss.backward()
    scn = distiller.method.methods["scn"]
    assert isinstance(scn, SCN)
    scn.proposed.copy_(torch.tensor([1, -1, -1, -1]))
    assert distiller.method.end_epoch(0) == [LabelChange(0, 0, 1)]
    assert distiller.method.targets(Batch(index, index, 1))[:4].tolist() == [1, 1, 2, 3]
