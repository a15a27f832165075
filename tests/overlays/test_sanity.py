"""Do maps show what decides? On images in which one square alone does, and with weights that know nothing."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from dropkd.models.tapped import TappedNetwork
from dropkd.overlays.agreement import rank_correlation
from dropkd.overlays.viewing import View, Viewer

from .planted import plant, reset_weights, share_inside

WAYS = ("gradcam", "hirescam", "occlusion")


def look(network: TappedNetwork, way: str, count: int = 32) -> tuple[list[View], torch.Tensor]:
    planted = plant(count, 1)
    viewer = Viewer(network, way, planted.images[:2])
    views = list(viewer.look(planted.images, planted.target))
    return viewer.check(planted.images, planted.target, views), planted.inside


@pytest.mark.parametrize("way", WAYS)
def test_the_map_of_a_trained_network_lies_where_the_object_is(seer: TappedNetwork, way: str) -> None:
    planted = plant(64, 2)
    assert (seer.logits(planted.images).argmax(1) == planted.target).double().mean() > 0.95
    views, inside = look(seer, way)
    seen = [k for k, view in enumerate(views) if view.values is not None]
    assert len(seen) >= 30
    maps = torch.stack([torch.from_numpy(views[k].values) for k in seen])
    # A map that is the same everywhere has 0.23 of its sum there.
    assert share_inside(maps, inside[seen]) > 0.8


@pytest.mark.parametrize("way", WAYS)
def test_covering_what_a_map_marks_costs_the_class_more_than_covering_what_anothers_does(
    seer: TappedNetwork, way: str
) -> None:
    views, _ = look(seer, way)
    own, other = np.mean([view.costs for view in views if view.costs is not None], axis=0)
    assert own > 2 * other


@pytest.mark.parametrize("way", WAYS)
def test_other_weights_give_another_map(seer: TappedNetwork, way: str) -> None:
    blank = deepcopy(seer)
    reset_weights(blank)
    trained, random = look(seer, way)[0], look(blank, way)[0]
    pairs = [(a.values, b.values) for a, b in zip(trained, random, strict=True)]
    alike = [
        rank_correlation(a.reshape(1, -1), b.reshape(1, -1))[0, 0] for a, b in pairs if a is not None and b is not None
    ]
    assert np.nanmean(np.abs(alike)) < 0.5


def test_asking_for_another_class_gives_another_map(seer: TappedNetwork) -> None:
    planted = plant(16, 1)
    viewer = Viewer(seer, "gradcam", planted.images[:2])
    other = list(viewer.look(planted.images, 1 - planted.target))
    seen = [k for k, view in enumerate(other) if view.values is not None]
    maps = torch.stack([torch.from_numpy(other[k].values) for k in seen])
    assert share_inside(maps, planted.inside[seen]) < 0.6
