"""Contrastive distillation: the authors' values, the draw of negatives, and what is remembered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from embedding_pairs import answer, draw, make_pair, make_published_pair
from map_pairs import check_close, check_recipe, load_golden
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Batch
from dropkd.errors import ConfigError
from dropkd.functional import crd, crd_scores, update_memory
from dropkd.methods import crd as crd_method
from dropkd.methods.crd import CRD
from dropkd.methods.negatives import Negatives
from dropkd.testing import check_method

TARGETS = torch.arange(40) % 4


def build(targets: Tensor = TARGETS, seed: int = 0, **options: Any) -> CRD:
    torch.manual_seed(seed)
    return CRD(make_pair(6, 9, targets=targets), **options)


def step(method: CRD, index: list[int], seed: int = 1) -> Tensor:
    """Return the term for random embeddings of these samples."""
    student, teacher = draw(len(index), 6, seed=seed), draw(len(index), 9, seed=seed + 1)
    places = torch.tensor(index)
    term: Tensor = method(answer(student), answer(teacher), Batch(method.negatives.labels[places], places))["contrast"]
    return term


def project(method: CRD, side: str, embedding: Tensor) -> Tensor:
    return F.normalize(method.projectors[side](embedding), dim=1).detach()


def load_golden_method(monkeypatch: pytest.MonkeyPatch) -> tuple[CRD, dict[str, Tensor]]:
    """Return the method with the memories and negatives of the golden case, its projectors without effect."""
    arrays = load_golden("crd_f64")
    index, places = arrays["in_index"], arrays["in_contrast_idx"]
    assert torch.equal(places[:, 0], index)
    method = CRD(make_pair(8, 8, targets=torch.arange(50) % 5), width=8).double()
    with torch.no_grad():
        for projector in method.projectors.values():
            projector.weight.copy_(torch.eye(8))
            projector.bias.zero_()
    method.student_memory.copy_(arrays["in_memory_v1"])
    method.teacher_memory.copy_(arrays["in_memory_v2"])
    monkeypatch.setattr(method.negatives, "draw", lambda _: places[:, 1:])
    return method, arrays


@pytest.mark.parametrize("all_similarities", [True, False])
def test_values_gradients_and_memories_are_those_of_the_authors_code(
    monkeypatch: pytest.MonkeyPatch, all_similarities: bool
) -> None:
    method, arrays = load_golden_method(monkeypatch)
    monkeypatch.setattr(crd, "_prefers_all", lambda *_: all_similarities)
    student = arrays["in_student_embed"].clone().requires_grad_()
    batch = Batch(arrays["in_index"] % 5, arrays["in_index"])
    term = method(answer(student), answer(arrays["in_teacher_embed"]), batch)["contrast"]
    term.backward()
    check_close("crd_f64", term.detach(), arrays["out_loss"])
    check_close("crd_f64", student.grad, arrays["grad_loss_wrt_student_embed"])
    check_close("crd_f64", method.normalizers, arrays["out_Z"])
    check_close("crd_f64", method.student_memory, arrays["out_new_memory_v1"])
    check_close("crd_f64", method.teacher_memory, arrays["out_new_memory_v2"])
    # What reaches the teacher's embedding in that code reaches its projector here.
    gradient = arrays["grad_loss_wrt_teacher_embed"]
    check_close("crd_f64", method.projectors["teacher"].bias.grad, gradient.sum(dim=0))
    check_close("crd_f64", method.projectors["teacher"].weight.grad, gradient.T @ arrays["in_teacher_embed"])


def contrast_slowly(codes: Tensor, memory: Tensor, places: Tensor, normalizer: float) -> float:
    """One direction of the loss, written from its formula."""
    images, count = len(memory), places.shape[1] - 1
    total = 0.0
    for code, row in zip(codes.tolist(), places.tolist(), strict=True):
        for rank, place in enumerate(row):
            dot = sum(a * b for a, b in zip(code, memory[place].tolist(), strict=True))
            q = math.exp(dot / 0.07) / normalizer
            total -= math.log((q if rank == 0 else count / images) / (q + count / images + 1e-7))
    return total / len(codes)


def test_it_is_its_slow_definition_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(negatives=7).double()
    index = torch.tensor([3, 8, 21])
    places = torch.cat((index.unsqueeze(1), method.negatives.draw(index)), dim=1)
    monkeypatch.setattr(method.negatives, "draw", lambda _: places[:, 1:])
    method.normalizers.copy_(torch.tensor([50.0, 90.0]))
    student, teacher = draw(3, 6, seed=1).double(), draw(3, 9, seed=2).double()
    expected = contrast_slowly(project(method, "student", student), method.teacher_memory.clone(), places, 50.0)
    expected += contrast_slowly(project(method, "teacher", teacher), method.student_memory.clone(), places, 90.0)
    found = method(answer(student), answer(teacher), Batch(TARGETS[index], index))["contrast"]
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_of_the_memory_before_the_step_however_the_similarities_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory, places = F.normalize(draw(30, 5), dim=1), torch.randint(30, (4, 9))
    found = []
    for is_preferred in (True, False):
        monkeypatch.setattr(crd, "_prefers_all", lambda *_, answer=is_preferred: answer)
        kept, codes = memory.clone(), F.normalize(draw(4, 5, seed=1), dim=1).requires_grad_()
        scores = crd_scores(codes, kept, places)
        kept.zero_()
        scores.log().sum().backward()
        found.append((scores.detach(), codes.grad))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0][1], memory[places].sum(dim=1) / 0.07)


# The draw of negatives.


@pytest.mark.parametrize(
    "sizes", [[10, 10, 10, 10], [1, 30, 2, 7], [0, 5, 0, 35], [39, 1]], ids=["even", "uneven", "absent classes", "two"]
)
@pytest.mark.parametrize("wanted", [1, 6, 16384])
def test_negatives_are_of_other_classes_and_none_comes_twice(sizes: list[int], wanted: int) -> None:
    targets = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[torch.randperm(40)]
    negatives, index = Negatives(targets, wanted), torch.arange(40)
    assert negatives.count == min(wanted, 40 - max(sizes))
    for _ in range(20):
        drawn = negatives.draw(index)
        assert drawn.shape == (40, negatives.count)
        assert (targets[drawn] != targets[index].unsqueeze(1)).all()
        assert all(len(set(row)) == len(row) for row in drawn.tolist())


def test_every_image_of_another_class_is_equally_likely() -> None:
    targets = torch.tensor([0] * 3 + [1] * 9 + [2] * 5)
    negatives, draws = Negatives(targets, 5), 20_000
    torch.manual_seed(0)
    for image in (0, 5, 16):
        drawn = negatives.draw(torch.full((draws,), image))
        counts = torch.bincount(drawn.flatten(), minlength=17)
        others = (targets != targets[image]).nonzero().flatten()
        expected = draws * 5 / len(others)
        assert counts.sum() == counts[others].sum()
        # Six standard deviations of a count.
        assert (counts[others] - expected).abs().max() < 6 * expected**0.5
        # Not the same few patterns, turned: each stretch has a draw of its own.
        assert len({tuple(sorted(row)) for row in drawn.tolist()}) > 3 * len(others)


def test_each_class_comes_close_to_its_share_of_the_negatives() -> None:
    targets = torch.arange(10).repeat_interleave(100)
    drawn = Negatives(targets, 450).draw(torch.arange(0, 1000, 50))
    for row, label in zip(drawn, targets[::50], strict=True):
        shares = torch.bincount(targets[row], minlength=10)
        assert shares[label] == 0
        assert (shares - 50).abs()[torch.arange(10) != label].max() <= 2


def test_images_of_a_class_have_negatives_of_their_own_which_torchs_seed_repeats() -> None:
    negatives, index = Negatives(torch.arange(1000) % 2, 100), torch.tensor([4, 4, 4, 7])
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(negatives.draw(index))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_as_many_negatives_are_drawn_as_wanted_up_to_what_the_data_hold() -> None:
    assert build().negatives.count == 30
    assert build(negatives=7).negatives.count == 7


# What is remembered.


def test_an_image_is_remembered_by_both_networks_at_its_place_as_a_unit_vector() -> None:
    method = build()
    before = {side: getattr(method, f"{side}_memory").clone() for side in ("student", "teacher")}
    step(method, [5, 0, 31])
    for side, width, seed in (("student", 6, 1), ("teacher", 9, 2)):
        memory, code = getattr(method, f"{side}_memory"), project(method, side, draw(3, width, seed=seed))
        moved = (memory != before[side]).any(dim=1)
        assert moved.nonzero().flatten().tolist() == [0, 5, 31]
        expected = F.normalize((before[side][[5, 0, 31]] + code) / 2, dim=1)
        torch.testing.assert_close(memory[[5, 0, 31]], expected)


def test_momentum_is_the_share_of_what_was_remembered() -> None:
    method = build(momentum=0.0)
    step(method, [5, 0])
    torch.testing.assert_close(method.student_memory[[5, 0]], project(method, "student", draw(2, 6, seed=1)))


def test_an_image_twice_in_a_batch_is_remembered_as_it_came_last(monkeypatch: pytest.MonkeyPatch) -> None:
    method, alone, written = build(), build(), []

    def note(memory: Tensor, index: Tensor, embedding: Tensor, momentum: float) -> Tensor:
        written.append(update_memory(memory, index, embedding, momentum))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(crd_method, "update_memory", note)
        step(method, [7, 3, 7])
    # Where two rows go to one place, a GPU writes either: they must be one and the same.
    assert all(torch.equal(rows[0], rows[2]) for rows in written)
    student, teacher = draw(3, 6, seed=1)[[2, 1]], draw(3, 9, seed=2)[[2, 1]]
    alone(answer(student), answer(teacher), Batch(TARGETS[[7, 3]], torch.tensor([7, 3])))
    torch.testing.assert_close(method.student_memory, alone.student_memory)
    torch.testing.assert_close(method.teacher_memory, alone.teacher_memory)


def test_the_first_batch_sets_the_normalizers_and_no_other() -> None:
    method, places = build(negatives=30), torch.tensor([1, 2])
    codes, memory = project(method, "student", draw(2, 6, seed=1)), method.teacher_memory.clone()
    step(method, [1, 2])
    # With 30 negatives of 30 all are drawn: the mean is over each image itself and all of other classes.
    scores = torch.exp(codes @ memory.T / 0.07)
    seen = (TARGETS[places].unsqueeze(1) != TARGETS) | (torch.arange(40) == places.unsqueeze(1))
    first = method.normalizers.clone()
    torch.testing.assert_close(first[0], 40 * scores[seen].mean())
    step(method, [8, 9], seed=5)
    assert torch.equal(method.normalizers, first)


def test_evaluation_remembers_nothing() -> None:
    method = build().eval()
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    assert step(method, [1, 2]).isfinite()
    assert all(torch.equal(before[name], buffer) for name, buffer in method.named_buffers())


def test_memories_and_normalizers_are_saved_and_what_follows_from_the_data_is_not() -> None:
    method, other = build(seed=0), build(seed=1)
    step(method, [1, 2])
    saved = {name for name in method.state_dict() if not name.startswith("projectors")}
    assert saved == {"student_memory", "teacher_memory", "normalizers"}
    other.load_state_dict(method.state_dict())
    for name, buffer in method.named_buffers():
        assert torch.equal(buffer, dict(other.named_buffers())[name])


def test_memories_start_with_rows_of_length_1_on_average() -> None:
    method = build(torch.arange(2000) % 2)
    for memory in (method.student_memory, method.teacher_memory):
        assert memory.abs().max() <= (3 / 128) ** 0.5
        assert memory.square().sum(dim=1).mean().item() == pytest.approx(1.0, abs=0.01)


def test_a_student_that_holds_what_the_teacher_holds_is_found_by_the_trained_projectors() -> None:
    method, student = build(), draw(40, 6, seed=1)
    teacher, batch = student @ draw(6, 9, seed=2), Batch(TARGETS, torch.arange(40))
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        method(answer(student), answer(teacher), batch)["contrast"].backward()
        optimizer.step()
    similarities = project(method, "student", student) @ method.teacher_memory.T
    others = similarities.masked_fill(TARGETS.unsqueeze(1) == TARGETS, -1.0)
    is_found = similarities.diagonal() > others.max(dim=1).values
    assert is_found.double().mean() > 0.8  # by chance 1 in 31


# What it is made of, and what it refuses.


def test_the_published_defaults() -> None:
    method = build()
    assert (method.terms, method.cross_entropy_weight, method.least_batch) == ({"contrast": 0.8}, 1.0, 1)
    assert (method.temperature, method.momentum) == (0.07, 0.5)
    assert Negatives(torch.arange(40_000) % 2, CRD.__init__.__kwdefaults__["negatives"]).count == 16384
    assert method.student_memory.shape == method.teacher_memory.shape == (40, 128)


def test_it_trains_16640_parameters_for_the_published_pair_and_remembers_1024_bytes_an_image() -> None:
    method = CRD(make_published_pair(torch.arange(500) % 100))
    assert sum(p.numel() for p in method.parameters()) == 16640
    assert sum(memory.nbytes for memory in (method.student_memory, method.teacher_memory)) == 500 * 1024


def test_both_projectors_learn() -> None:
    method = build()
    step(method, [1, 2]).backward()
    assert all(p.grad is not None and p.grad.count_nonzero() for p in method.parameters())


def test_without_its_term_it_computes_trains_and_remembers_nothing() -> None:
    method = build()
    method.restrict_terms([])
    before, batch = method.student_memory.clone(), Batch(TARGETS[:2], torch.arange(2))
    assert method(answer(draw(2, 6)), answer(draw(2, 9)), batch) == {}
    assert torch.equal(method.student_memory, before)
    assert not any(p.requires_grad for p in method.parameters())


def test_samples_whose_classes_are_not_known_beforehand_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs the class of each beforehand. Pass them as targets=\.\.\."):
        CRD(make_pair(6, 9))


def test_data_of_one_class_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"all 7 training samples are of one class\. Give it data of two classes"):
        build(torch.full((7,), 2))


@pytest.mark.parametrize("index", [[3, 40], [-1, 3]])
def test_a_sample_that_is_not_among_the_training_samples_is_refused(index: list[int]) -> None:
    method = build()
    with pytest.raises(
        ConfigError, match=f"go from {min(index)} to {max(index)}, .*the classes of 40 training samples"
    ):
        method(answer(draw(2, 6)), answer(draw(2, 9)), Batch(torch.zeros(2).long(), torch.tensor(index)))


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(CRD, {"negatives": 3, "temperature": 0.5, "momentum": 0.0, "width": 5})


def test_the_recipe_is_the_benchmarks_training() -> None:
    options = {"negatives": 16384, "temperature": 0.07, "momentum": 0.5, "width": 128}
    assert check_recipe("crd").method.options == options
