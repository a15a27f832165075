"""Images without a label in the distiller: which terms see them, as what class, and who refuses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dropkd
from dropkd.contracts import NO_LABEL, Batch, Outputs
from dropkd.demo.images import load_demo_split
from dropkd.engine.distiller import Distiller
from dropkd.engine.unlabelled import clear_shares, give_classes
from dropkd.errors import ConfigError
from dropkd.functional import dkd_loss, kd_loss
from dropkd.functional.labels import label_loss
from dropkd.methods import Method
from dropkd.methods.registry import load_methods, method_names
from dropkd.models import Network, build_network

CLASSES, LABELLED, UNLABELLED = 10, 4, 6


def images_and_target(views: int = 1) -> tuple[Tensor, Tensor]:
    """Return real images in views, the last six of each view without a label."""
    split = load_demo_split("train")
    rows = LABELLED + UNLABELLED
    images = torch.from_numpy(split.images[:rows]).float().div(255)[:, None].expand(-1, 3, -1, -1)
    target = torch.from_numpy(split.labels[:rows]).long()
    target[LABELLED:] = NO_LABEL
    return torch.cat([images, images.flip(3)][:views]), target.repeat(views)


def network_of(name: str = "cifar_resnet8", classes: int = CLASSES) -> Network:
    return build_network(name, num_classes=classes, image_size=(28, 28))


def make(method: str | Method = "kd", classes: int = CLASSES, **settings: object) -> Distiller:
    torch.manual_seed(0)
    return Distiller(network_of(), network_of("cct_2_3x2", classes), method, **settings)  # type: ignore[arg-type]


def answers_of(distiller: Distiller, images: Tensor) -> tuple[Outputs, Outputs]:
    teacher = distiller.ask_teacher(images)
    assert teacher is not None
    return distiller.student(images), teacher


def test_the_loss_is_the_cross_entropy_of_the_labelled_rows_and_the_distillation_of_all() -> None:
    distiller = make("kd", options={"temperature": 2.0}, weights={"logit": 0.7, "cross_entropy": 0.3}).eval()
    images, target = images_and_target()
    losses = distiller(images, target)
    student, teacher = answers_of(distiller, images)
    by_hand = 0.3 * F.cross_entropy(student.logits[:LABELLED], target[:LABELLED]) + 0.7 * kd_loss(
        student.logits, teacher.logits, 2.0
    )
    assert losses.loss.item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_the_order_of_the_rows_does_not_matter() -> None:
    distiller = make("dkd").eval()
    images, target = images_and_target()
    mixed = torch.randperm(len(target), generator=torch.Generator().manual_seed(1))
    assert distiller(images, target).loss.item() == pytest.approx(
        distiller(images[mixed], target[mixed]).loss.item(), rel=1e-5
    )


def test_a_term_that_reads_the_class_gets_the_most_probable_class_of_the_teacher() -> None:
    distiller = make("dkd", options={"temperature": 2.0}, warmup_epochs=0.0).eval()
    images, target = images_and_target()
    losses = distiller(images, target)
    student, teacher = answers_of(distiller, images)
    classes = torch.cat([target[:LABELLED], teacher.logits[LABELLED:].argmax(1)])
    by_hand = dkd_loss(student.logits, teacher.logits, classes, temperature=2.0)
    assert (losses.loss - losses.raw["cross_entropy"]).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_class_comes_from_the_given_answers_of_the_teacher() -> None:
    distiller = make("dkd").eval()
    images, target = images_and_target()
    _, teacher = answers_of(distiller, images)
    other = teacher._replace(logits=teacher.logits.flip(1))
    given = distiller(images, target, teacher_outputs=other)
    spelt = torch.where(target == NO_LABEL, other.logits.argmax(1), target)
    again = distiller(images, spelt, teacher_outputs=other)
    assert given.raw["target"].item() == again.raw["target"].item()
    assert distiller(images, target).raw["target"].item() != given.raw["target"].item()


def test_the_class_of_an_ensemble_is_that_of_its_mean() -> None:
    torch.manual_seed(0)
    members = [network_of("cct_2_3x2"), network_of("cifar_resnet14")]
    both = dropkd.models.ensemble(members)
    distiller = Distiller(network_of(), both, "dkd").eval()
    images, target = images_and_target()
    mean = sum(member(images, crop=False).logits.softmax(1) for member in members)
    assert isinstance(mean, Tensor)
    spelt = torch.where(target == NO_LABEL, mean.argmax(1), target)
    losses, again = distiller(images, target), distiller(images, spelt)
    assert losses.raw["target"].item() == pytest.approx(again.raw["target"].item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_the_cross_entropy_gives_rows_without_a_label_a_gradient_of_exactly_0(smoothing: float, soft: bool) -> None:
    logits = torch.randn(10, CLASSES, generator=torch.Generator().manual_seed(2), requires_grad=True)
    _, target = images_and_target()
    shares = F.one_hot(target.clamp(min=0), CLASSES).float()
    shares[LABELLED:] = NO_LABEL
    loss = label_loss(logits, shares if soft else target, label_smoothing=smoothing)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[LABELLED:] == 0).all()
    assert (logits.grad[:LABELLED] != 0).all()
    alone = F.cross_entropy(logits[:LABELLED], target[:LABELLED], label_smoothing=smoothing)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, CLASSES + 1)])
@pytest.mark.parametrize("soft", [False, True])
def test_without_any_label_the_cross_entropy_is_0_with_finite_gradients(soft: bool, weights: Tensor | None) -> None:
    logits = torch.full((3, CLASSES), 60.0).diagonal_scatter(torch.full((3,), -60.0)).requires_grad_()
    target = torch.full((3, CLASSES), -1.0) if soft else torch.full((3,), NO_LABEL)
    loss = label_loss(logits, target, class_weights=weights)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_are_those_of_the_labelled_rows(smoothing: float) -> None:
    logits = torch.randn(10, CLASSES, generator=torch.Generator().manual_seed(2))
    weights = torch.arange(1.0, CLASSES + 1)
    _, target = images_and_target()
    alone = F.cross_entropy(logits[:LABELLED], target[:LABELLED], weights, label_smoothing=smoothing)
    loss = label_loss(logits, target, class_weights=weights, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_of_several_labels_the_loss_is_the_binary_one_of_the_labelled_rows(smoothing: float) -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, -1.0, -1.0], [1.0, 0.0, 1.0, 0.0]])
    loss = label_loss(logits, target, multi_label=True, label_smoothing=smoothing)
    loss.backward()
    labelled, smooth = logits.detach()[[0, 2]], target[[0, 2]] * (1 - smoothing) + smoothing / 2
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(labelled, smooth).item(), rel=1e-6)
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[[0, 2]] != 0).all()


def test_of_several_labels_a_row_without_has_those_that_the_teacher_finds_likely() -> None:
    target = torch.tensor([[0.0, 1.0, 0.0], [-1.0, -1.0, -1.0]])
    answer = Outputs(torch.tensor([[3.0, 3.0, 3.0], [2.0, -1.0, 0.5]]), (), torch.zeros(2, 1))
    batch = give_classes(clear_shares(Batch(target, torch.arange(2), 0, target.clamp(min=0))), answer, 3)
    assert batch.target.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    assert torch.equal(batch.soft_target, batch.target)  # type: ignore[arg-type]


def test_a_batch_of_unlabelled_images_alone_trains_by_the_teacher_alone() -> None:
    distiller = make("kd").train()
    images, target = images_and_target()
    losses = distiller(images[LABELLED:], target[LABELLED:])
    losses.loss.backward()
    assert losses.raw["cross_entropy"].item() == 0.0
    assert losses.loss.item() == losses.weighted["logit"].item() > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in distiller.student.parameters())


def test_labels_for_all_give_the_plain_mean_of_the_cross_entropy() -> None:
    distiller = make("kd", label_smoothing=0.1).eval()
    images, target = images_and_target()
    labels = target.clamp(min=0)
    by_hand = F.cross_entropy(distiller.student(images).logits, labels, label_smoothing=0.1)
    assert distiller(images, labels).raw["cross_entropy"].item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_each_labelled_view_has_rows_without_a_label() -> None:
    distiller = make("mld").eval()
    images, target = images_and_target(views=2)
    losses = distiller(images, target)
    known = target >= 0
    by_hand = F.cross_entropy(distiller.student(images).logits[known], target[known])
    assert losses.raw["cross_entropy"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert len(losses.logits) == LABELLED + UNLABELLED


class Recorder(Method):
    """Keeps the batch that it is given."""

    student_reads = teacher_reads = frozenset({"logits"})
    terms: Mapping[str, float] = {"nothing": 1.0}  # type: ignore[misc]
    seen: Batch

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        self.seen = batch
        return {"nothing": student.logits.sum() * 0}


def record(soft: Tensor | None = None, classes: int = CLASSES) -> tuple[Recorder, Outputs]:
    pair = dropkd.contracts.Pair(network_of().shapes, network_of("cct_2_3x2", classes).shapes, CLASSES)
    method = Recorder(pair)
    distiller = make(method, classes)
    images, target = images_and_target()
    distiller.eval()(images, target, soft_target=soft)
    return method, answers_of(distiller, images)[1]


def test_class_shares_of_unlabelled_rows_are_not_read_and_become_the_teachers_class() -> None:
    shares = torch.rand(LABELLED + UNLABELLED, CLASSES)
    method, teacher = record(shares)
    assert method.seen.soft_target is not None
    assert torch.equal(method.seen.soft_target[:LABELLED], shares[:LABELLED])
    assert torch.equal(method.seen.soft_target[LABELLED:].argmax(1), teacher.logits[LABELLED:].argmax(1))
    assert (method.seen.soft_target[LABELLED:].amax(1) == 1).all()


def test_a_teacher_of_other_classes_has_no_class_to_give() -> None:
    method, _ = record(classes=7)
    assert (method.seen.target[LABELLED:] == NO_LABEL).all()


def test_dropkds_classifiers_pass_over_rows_without_a_class() -> None:
    distiller = make("dropkd", classes=7, weights={"logit": 0.0}).eval()
    images, target = images_and_target()
    domain = distiller(images, target).raw["domain"].item()
    assert domain == pytest.approx(distiller(images[:LABELLED], target[:LABELLED]).raw["domain"].item(), rel=1e-5)


@pytest.mark.parametrize("name", method_names())
def test_every_method_learns_from_unlabelled_images_or_says_which_can(name: str) -> None:
    cls = load_methods()[0][name]
    distiller = Distiller(network_of(), network_of("cifar_resnet14"), name, targets=torch.arange(20) % CLASSES)
    images, target = images_and_target(len(distiller.method.views))
    index = torch.arange(len(target))
    if not cls.teacher_reads or cls.reads_index:
        with pytest.raises(ConfigError, match=r"unlabelled images\. Methods that can: .*\bkd\b.*\bmld\b") as refusal:
            distiller(images, target, index)
        assert f" {name}," not in str(refusal.value)
        return
    losses = distiller.train()(images, target, index)
    losses.loss.backward()
    assert torch.isfinite(losses.loss)
    if distiller.method.labelled_views == 1:
        by_hand = F.cross_entropy(losses.logits[:LABELLED], target[:LABELLED])
        assert losses.raw["cross_entropy"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert all(torch.isfinite(p.grad).all() for p in distiller.parameters() if p.grad is not None)


def read_page() -> dict[str, str]:
    """Return what docs/unlabelled.md says of each method."""
    text = (Path(__file__).parents[2] / "docs" / "unlabelled.md").read_text(encoding="utf-8")
    table = text.split("| methods |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([a-z, ]+) \| (.+) \|$", table, re.MULTILINE)
    return {name.strip(): said for names, said in rows for name in names.split(",")}


def test_the_page_names_every_method_once() -> None:
    assert sorted(read_page()) == method_names()


@pytest.mark.parametrize("name", [name for name, cls in load_methods()[0].items() if cls.teacher_reads])
def test_which_terms_read_the_class_is_as_the_page_says(name: str) -> None:
    torch.manual_seed(0)
    teacher = network_of("cifar_resnet14")
    settings = {"options": {"gamma": 1.5}} if name == "ofakd" else {}
    distiller = Distiller(network_of(), teacher, name, targets=torch.arange(20) % CLASSES, **settings)
    images, target = images_and_target(len(distiller.method.views))
    index, found = torch.arange(len(target)) % (LABELLED + UNLABELLED), []
    state = {key: value.clone() for key, value in distiller.state_dict().items()}
    for classes in (target.clamp(min=0), (target.clamp(min=0) + 1) % CLASSES):
        torch.manual_seed(1)
        distiller.load_state_dict(state)
        raw = distiller.train()(images, classes, index).raw
        found.append({term: value.item() for term, value in raw.items() if term != "cross_entropy"})
    changed = {term for term in found[0] if found[0][term] != found[1][term]}
    said = read_page()[name]
    expected = {"dkd": {"target", "nontarget"}, "ofakd": {"logit", "stages"}, "dropkd": {"domain"}}.get(name, set())
    assert changed == expected
    assert said.startswith("nothing") == (not expected) or said.startswith("refused")


def test_a_combination_with_a_method_that_remembers_samples_refuses_too() -> None:
    distiller = Distiller(network_of(), network_of(), "kd+crd", targets=torch.arange(20) % CLASSES)
    images, target = images_and_target()
    with pytest.raises(ConfigError, match="remembers each training sample"):
        distiller(images, target, torch.arange(len(target)))


def test_a_combination_with_a_method_of_mirrored_views_learns_from_both() -> None:
    distiller = Distiller(network_of(), network_of(), "kd+eac").train()
    images, target = images_and_target(views=2)
    losses = distiller(images, target)
    assert torch.isfinite(losses.loss)
    assert set(losses.raw) == {"cross_entropy", "kd_logit", "eac_consistency"}
