"""Relational distillation: the authors' values, angles in bounded memory, and any widths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from embedding_pairs import check_golden, compare, draw, make_pair, run
from map_pairs import MANIFEST, check_recipe, golden_cases
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dropkd.errors import ConfigError
from dropkd.functional import rkd, rkd_angle_loss
from dropkd.methods.rkd import RKD
from dropkd.testing import check_method

PAIR = make_pair(6, 9)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest tensor holds that is made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [item for item in (result if isinstance(result, tuple) else (result,)) if isinstance(item, Tensor)]
        self.numbers = max(self.numbers, *(tensor.numel() for tensor in made), 0)
        return result


@pytest.mark.parametrize("name", golden_cases("RKD"))
def test_values_and_gradients_are_those_of_the_authors_code(name: str) -> None:
    check_golden(name, RKD(PAIR, squared=MANIFEST[name]["hyper"]["squared"]))


@pytest.mark.parametrize("name", golden_cases("RKD"))
def test_angles_in_parts_are_those_of_the_authors_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rkd, "_MOST_NUMBERS", 1)
    check_golden(name, RKD(PAIR, squared=MANIFEST[name]["hyper"]["squared"]))


def test_the_angles_of_a_large_batch_take_little_memory_and_have_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = draw(48, 20, seed=1).requires_grad_(), draw(48, 70, seed=2)
    whole = rkd_angle_loss(student, teacher)
    (expected,) = torch.autograd.grad(whole, student)
    monkeypatch.setattr(rkd, "_MOST_NUMBERS", 2**14)
    with LargestTensor() as made:
        parts = rkd_angle_loss(student, teacher)
        (found,) = torch.autograd.grad(parts, student)
    # Differences of a few images from all are (images, 48, 70) for the teacher, the cosines (images, 48, 48).
    assert 48 * 70 < made.numbers <= 2**14 < 48**3
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(found, expected)


def test_of_angles_in_parts_only_the_embeddings_are_kept_for_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, kept = draw(48, 20).requires_grad_(), draw(48, 70), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: None):
        rkd_angle_loss(student, teacher)
        assert max(kept) == 48**3
        kept.clear()
        monkeypatch.setattr(rkd, "_MOST_NUMBERS", 2**14)
        rkd_angle_loss(student, teacher)
    assert set(kept) == {48 * 20, 48 * 70}


def test_angles_are_found_by_hand() -> None:
    right, even = (
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3**0.5]]),
    )
    # Each corner has two ordered pairs of others. At the right angle the cosine is 0, at 45 degrees 0.7071, at 60 0.5.
    expected = (2 * 0.5**2 / 2 + 4 * (0.5**0.5 - 0.5) ** 2 / 2) / 27
    assert compare(RKD(PAIR), right, even)["angle"].item() == pytest.approx(expected, rel=1e-5)


def test_distances_are_found_by_hand() -> None:
    # Distances 1, 2 and 3 with mean 2, against three equal ones: 1/2 and 1 and 3/2 against 1.
    line, even = torch.tensor([[0.0], [1.0], [3.0]]), torch.eye(3)
    expected = 2 * (0.5**2 + 0.5**2) / 2 / 9
    assert compare(RKD(PAIR), line, even)["distance"].item() == pytest.approx(expected, rel=1e-5)
    # Squared 1, 4 and 9 with mean 14/3.
    gaps = [1 - 3 / 14, 1 - 12 / 14, 27 / 14 - 1]
    expected = 2 * sum(gap**2 for gap in gaps) / 2 / 9
    assert compare(RKD(PAIR, squared=True), line, even)["distance"].item() == pytest.approx(expected, rel=1e-5)


def test_squared_distances_leave_the_angles_alone() -> None:
    plain, squared = run(RKD(PAIR)), run(RKD(PAIR, squared=True))
    assert torch.equal(plain["angle"], squared["angle"])
    assert plain["distance"] != squared["distance"]


def test_a_teacher_that_is_moved_turned_and_scaled_teaches_the_same() -> None:
    student, teacher = draw(7, 6, seed=1), draw(7, 9, seed=2)
    turned = 5 * teacher @ torch.linalg.qr(draw(9, 9, seed=3))[0] + draw(1, 9, seed=4)
    for name, value in compare(RKD(PAIR), student, teacher).items():
        torch.testing.assert_close(compare(RKD(PAIR), student, turned)[name], value, rtol=1e-4, atol=1e-6)


def test_two_images_teach_nothing_and_three_do() -> None:
    assert all(term.item() < 1e-12 for term in run(RKD(PAIR), images=2).values())
    assert all(term.item() > 1e-3 for term in run(RKD(PAIR), images=3).values())


@pytest.mark.parametrize("active", [{"distance"}, {"angle"}], ids=str)
def test_one_image_is_too_few_in_words(active: set[str]) -> None:
    method = RKD(PAIR)
    method.restrict_terms(active)
    assert method.least_batch == 2
    with pytest.raises(ConfigError, match="RKD, which compares images with each other, needs at least 2 images"):
        run(method, images=1)


def test_the_published_weights_are_25_and_50_and_nothing_is_trained() -> None:
    method = RKD(PAIR)
    assert (method.terms, method.cross_entropy_weight) == ({"distance": 25.0, "angle": 50.0}, 1.0)
    assert not list(method.parameters())


def test_only_active_terms_are_computed() -> None:
    method = RKD(PAIR)
    for active in ({"angle"}, {"distance"}, set()):
        method.restrict_terms(active)
        assert set(run(method)) == active


def test_widths_of_1_and_of_2048_go_together() -> None:
    student = draw(6, 1).requires_grad_()
    torch.stack(
        list(compare(RKD(make_pair(1, 2048)), student, F.relu(draw(6, 2048, seed=1))).values())
    ).sum().backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.count_nonzero() == 6


def test_it_keeps_the_contract_with_other_options() -> None:
    check_method(RKD, {"squared": True})


def test_the_recipe_is_the_benchmarks_training() -> None:
    assert check_recipe("rkd").method.options == {"squared": False}
