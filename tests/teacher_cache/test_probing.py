"""What a method reads of its teacher is found out for every method there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Outputs
from dropkd.teacher_cache.probing import find_map_uses


def answer_of(*sides: int, preactivations: bool = False) -> Outputs:
    torch.manual_seed(0)
    maps = tuple(torch.rand(4, 3, side, side) for side in sides)
    return Outputs(torch.rand(4, 5), maps, torch.rand(4, 6), None, maps if preactivations else ())


def test_a_map_that_nobody_reads_is_not_kept() -> None:
    uses = find_map_uses(lambda a: {"logit": a.logits.mean()}, answer_of(8, 4), [(2, 2)])
    assert uses == {"map0": None, "map1": None}


def test_a_map_that_is_pooled_anyway_is_kept_at_the_grid_that_it_is_pooled_to() -> None:
    def terms(a: Outputs) -> dict[str, Tensor]:
        return {"feature": F.adaptive_avg_pool2d(a.maps[1], (4, 4)).square().mean()}

    uses = find_map_uses(terms, answer_of(16, 8), [(16, 16), (4, 4), (2, 2)])
    assert uses == {"map0": None, "map1": (4, 4)}


def test_a_map_whose_every_pixel_counts_is_kept_whole() -> None:
    def terms(a: Outputs) -> dict[str, Tensor]:
        return {"feature": a.maps[0].square().mean()}

    assert find_map_uses(terms, answer_of(8), [(4, 4)]) == {"map0": (8, 8)}


def test_a_method_that_refuses_another_size_gets_the_map_whole() -> None:
    def terms(a: Outputs) -> dict[str, Tensor]:
        return {"feature": (a.maps[0] - torch.ones(4, 3, 8, 8)).mean()}

    def strict(a: Outputs) -> dict[str, Tensor]:
        if a.maps[0].shape[2:] != (8, 8):
            raise RuntimeError("unlike sizes")
        return terms(a)

    assert find_map_uses(strict, answer_of(8), [(4, 4)]) == {"map0": (8, 8)}


def test_preactivations_are_told_apart_from_maps() -> None:
    uses = find_map_uses(
        lambda a: {"feature": a.preactivations[0].mean()}, answer_of(8, preactivations=True), [(4, 4), (8, 8)]
    )
    # A mean over all pixels is the mean of equal cells' means.
    assert uses == {"map0": None, "preactivation0": (4, 4)}


@pytest.mark.parametrize("sides", [(4, 8), (8, 4)])
def test_a_grid_is_never_larger_than_the_map(sides: tuple[int, int]) -> None:
    def terms(a: Outputs) -> dict[str, Tensor]:
        return {"feature": F.adaptive_avg_pool2d(a.maps[0], (2, 4)).square().mean()}

    assert find_map_uses(terms, answer_of(8), [(2, 4), (16, 16), sides]) == {"map0": (2, 4)}
