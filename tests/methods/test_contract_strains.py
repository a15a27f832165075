"""Small versions of the methods that strain the contract most; docs/contracts.md says what carries each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.contracts import Batch, LabelChange, Outputs, Pair, Shapes
from dropkd.engine.distiller import Distiller
from dropkd.errors import ConfigError, ModelError
from dropkd.functional import (
    class_activation_maps,
    crd_loss,
    crd_scores,
    find_relabels,
    flip_consistency_loss,
    hcl_loss,
    mld_loss,
    pool_to_common_grid,
    rank_regularization_loss,
    update_memory,
)
from dropkd.functional.precision import full_precision
from dropkd.methods.method import Method
from dropkd.models import Network, build_network
from dropkd.testing import check_method


class TwoViews(Method):
    """As MLD: a standard and a strong view, both labelled, and the teacher's answer to both."""

    student_reads = teacher_reads = frozenset({"logits"})
    terms = {"levels": 0.9}  # noqa: RUF012
    label_space_terms = frozenset({"levels"})
    views = ("standard", "strong")
    labelled_views = 2
    cross_entropy_weight = 0.2

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if not self.active:
            return {}
        ours, theirs = student.split(2), self.require_teacher(teacher).split(2)
        return {"levels": mld_loss(*(answer.logits for answer in (*ours, *theirs)))}


class Memory(Method):
    """As CRD, in one direction: a memory by sample, negatives of other classes."""

    student_reads = teacher_reads = frozenset({"embedding"})
    terms = {"contrast": 0.8}  # noqa: RUF012
    memory: Tensor
    labels: Tensor

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        if pair.targets is None or pair.teacher is None:
            raise ConfigError("Memory needs the class of each training sample beforehand.")
        self.project = nn.Linear(pair.student.embedding, 8)
        self.register_buffer("labels", pair.targets)
        self.register_buffer("memory", F.normalize(torch.randn(len(pair.targets), 8), dim=1))

    def restrict_terms(self, names: Collection[str]) -> None:
        super().restrict_terms(names)
        self.project.requires_grad_(bool(self.active))

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if not self.active:
            return {}
        code = F.normalize(self.project(student.embedding), dim=1)
        others = (self.labels[batch.index].unsqueeze(1) != self.labels).float().multinomial(5)
        scores = crd_scores(code, self.memory, torch.cat((batch.index.unsqueeze(1), others), dim=1))
        self.memory.copy_(update_memory(self.memory, batch.index, code))
        return {"contrast": crd_loss(scores / scores.mean().detach(), len(self.labels))}


class Relabelling(Method):
    """As SCN: no teacher, a cross-entropy of its own, and labels that change from one epoch to the next."""

    student_reads = frozenset({"logits", "embedding"})
    terms = {"weighted": 1.0, "rank": 1.0}  # noqa: RUF012
    cross_entropy_weight = 0.0
    least_batch = 2
    labels: Tensor
    next_labels: Tensor

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        if pair.targets is None:
            raise ConfigError("Relabelling needs the class of each training sample beforehand.")
        self.attend = nn.Linear(pair.student.embedding, 1)
        self.register_buffer("labels", pair.targets.clone())
        self.register_buffer("next_labels", pair.targets.clone())

    def restrict_terms(self, names: Collection[str]) -> None:
        super().restrict_terms(names)
        self.attend.requires_grad_(bool(self.active))

    def targets(self, batch: Batch) -> Tensor:
        return self.labels[batch.index]

    def end_epoch(self, epoch: int) -> list[LabelChange]:
        changed = (self.labels != self.next_labels).nonzero().flatten().tolist()
        changes = [LabelChange(i, int(self.labels[i]), int(self.next_labels[i])) for i in changed]
        self.labels.copy_(self.next_labels)
        return changes

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        weights = torch.sigmoid(self.attend(student.embedding))
        logits, terms = weights * student.logits, {}
        if "weighted" in self.active:
            terms["weighted"] = F.cross_entropy(logits, self.targets(batch))
        if "rank" in self.active:
            terms["rank"] = rank_regularization_loss(weights, margin=1.0)
        self.next_labels[batch.index] = find_relabels(logits, self.labels[batch.index])
        return terms


class MirroredAttention(Method):
    """As EAC: an image and its mirror image, one of them labelled, and the class activation maps of both."""

    student_reads = frozenset({"maps", "classifier"})
    terms = {"consistency": 5.0}  # noqa: RUF012
    views = ("standard", "mirrored")

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if not self.active:
            return {}
        image, mirrored = (class_activation_maps(view.maps[-1], view.classifier) for view in student.split(2))
        return {"consistency": flip_consistency_loss(image, mirrored)}


class AllStages(Method):
    """As ReviewKD: every stage and the embedding as a map of one cell, from the deep end."""

    student_reads = teacher_reads = frozenset({"maps", "embedding"})
    terms = {"review": 1.0}  # noqa: RUF012

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        assert pair.teacher is not None
        stages = zip(pair.student.maps[::-1], pair.teacher.maps[::-1], strict=False)
        widths = [(pair.student.embedding, pair.teacher.embedding), *((s[0], t[0]) for s, t in stages)]
        self.projectors = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in widths)

    def restrict_terms(self, names: Collection[str]) -> None:
        super().restrict_terms(names)
        self.projectors.requires_grad_(bool(self.active))

    @full_precision
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if not self.active:
            return {}
        sides = [
            (a.embedding[:, :, None, None], *a.maps[::-1]) for a in (student, self.require_teacher(teacher).detach())
        ]
        pairs = [pool_to_common_grid(s, t) for s, t in zip(*sides, strict=False)]
        projected = [project(s) for project, (s, _) in zip(self.projectors, pairs, strict=True)]
        return {"review": hcl_loss(projected, [t for _, t in pairs])}


@pytest.mark.parametrize("cls", [TwoViews, Memory, Relabelling, MirroredAttention, AllStages])
def test_the_contract_carries_it(cls: type[Method]) -> None:
    check_method(cls)


def _build(cls: Any, samples: int = 8) -> Any:
    network = Shapes(4, ((6, 2, 2),), 6)
    return cls(Pair(network, network, 4, torch.arange(samples) % 4))


def _answer(rows: int, seed: int = 0) -> Outputs:
    source = torch.Generator().manual_seed(seed)
    logits, embedding = torch.randn(rows, 4, generator=source), torch.randn(rows, 6, generator=source)
    return Outputs(5 * logits, (torch.randn(rows, 6, 2, 2, generator=source),), embedding)


def test_each_view_is_compared_with_the_teachers_answer_to_the_same_view() -> None:
    method, batch = _build(TwoViews), Batch(torch.arange(4).repeat(2) % 4, torch.arange(4).repeat(2))
    answer = _answer(8)
    assert method(answer, answer, batch)["levels"].item() < 1e-6
    swapped = answer.apply(lambda t: t.roll(4, 0))
    assert method(answer, swapped, batch)["levels"].item() > 0.1
    assert [part.index.tolist() for part in batch.split(2)] == [[0, 1, 2, 3]] * 2


def test_a_memory_remembers_each_sample_at_its_place_and_is_saved() -> None:
    method = _build(Memory)
    before = method.memory.clone()
    method(_answer(3), _answer(3, seed=1), Batch(torch.tensor([1, 2, 3]), torch.tensor([5, 2, 7])))
    moved = (method.memory != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [2, 5, 7]
    assert torch.equal(method.state_dict()["memory"], method.memory)


def test_relabelled_samples_change_in_the_next_epoch_and_the_original_labels_stay_with_the_pair() -> None:
    method, answer = _build(Relabelling), _answer(8)
    batch = Batch(torch.arange(8) % 4, torch.arange(8), epoch=0)
    method(answer, None, batch)
    assert torch.equal(method.targets(batch), batch.target)
    changes = method.end_epoch(0)
    assert [change.index for change in changes] == (method.targets(batch) != batch.target).nonzero().flatten().tolist()
    assert changes
    assert torch.equal(method.pair.targets, batch.target)


def _student(name: str = "cifar_resnet8") -> Network:
    torch.manual_seed(0)
    return build_network(name, num_classes=4, image_size=32)


def test_attention_is_made_consistent_by_a_step_and_never_through_the_classifier() -> None:
    student = _student()
    distiller = Distiller(student, None, MirroredAttention(Pair(student.shapes, None, 4)), weights={"cross_entropy": 0})
    images, target = torch.rand(4, 3, 32, 32), torch.arange(4).repeat(2)
    views, weight = torch.cat([images, images.flip(3)]), student.model.fc.weight
    optimizer = torch.optim.SGD(distiller.train().parameters(), lr=0.01)
    before = distiller(views, target)
    with torch.no_grad():
        maps = [student(view).maps[-1] for view in views.chunk(2)]
        first, second = (torch.einsum("kc,bchw->bkhw", weight, m) for m in maps)
    torch.testing.assert_close(before.raw["consistency"].detach(), (first - second.flip(3)).square().mean())
    before.loss.backward()
    assert not weight.grad.any()
    assert all(p.grad.any() for p in student.model.layer3.parameters())
    optimizer.step()
    assert distiller(views, target).loss < before.loss


def test_a_student_without_a_linear_classifier_is_refused_before_the_first_step() -> None:
    student = _student("deit_tiny_distilled_patch16_224")
    with pytest.raises(ModelError, match="MirroredAttention reads the weight of the student's classifier"):
        MirroredAttention(Pair(student.shapes, None, 4))


@pytest.mark.parametrize("cls", [Memory, Relabelling])
def test_samples_that_are_not_known_beforehand_are_refused_where_they_are_needed(cls: Any) -> None:
    network = Shapes(4, ((6, 2, 2),), 6)
    with pytest.raises(ConfigError, match="the class of each training sample beforehand"):
        cls(Pair(network, network, 4))
