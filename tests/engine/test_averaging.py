"""The running average of the weights, by its definition."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dropkd.engine.averaging import average_weights, warm_decay


@given(st.floats(0.01, 0.99999), st.integers(0, 10**7))
def test_the_decay_never_falls_and_ends_at_its_own(decay: float, count: int) -> None:
    assert 0 < warm_decay(decay, count) <= warm_decay(decay, count + 1) <= decay
    assert warm_decay(decay, 10**9) == decay


@pytest.mark.parametrize("warms_up", [True, False])
def test_the_average_is_the_one_of_the_definition(warms_up: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    averaged = average_weights(layer, 0.99, warms_up=warms_up)
    assert averaged is not None
    wanted = None
    for step in range(40):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
        averaged.update_parameters(layer)
        # The first step is taken as it is; n are averaged before the next.
        share = warm_decay(0.99, step) if warms_up else 0.99
        new = layer.weight.detach().double()
        wanted = new.clone() if wanted is None else share * wanted + (1 - share) * new
    assert wanted is not None
    assert torch.allclose(averaged.module.weight.double(), wanted, atol=1e-5)


def test_a_short_run_is_averaged_over_its_last_part_and_not_over_its_first_weights() -> None:
    layer = nn.Linear(1, 1, bias=False)
    warm, constant = average_weights(layer, 0.9999), average_weights(layer, 0.9999, warms_up=False)
    assert warm is not None
    assert constant is not None
    for step in range(200):
        layer.weight.data.fill_(float(step))
        warm.update_parameters(layer)
        constant.update_parameters(layer)
    assert warm.module.weight.item() > 150
    assert constant.module.weight.item() < 10


def test_what_does_not_move_is_averaged_to_itself_bit_for_bit() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5))
    before = copy.deepcopy(network.state_dict())
    averaged = average_weights(network, 0.999)
    assert averaged is not None
    for _ in range(20):
        averaged.update_parameters(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in averaged.module.state_dict().items())


def test_without_a_decay_there_is_no_average() -> None:
    assert average_weights(nn.Linear(1, 1), 0.0) is None


@pytest.mark.parametrize("warms_up", [True, False])
def test_the_average_is_that_of_torch_bit_for_bit(warms_up: bool) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).double()
    network.append(nn.Linear(2, 2))
    averaged = average_weights(network, 0.9, warms_up=warms_up)

    def blend(old: Any, new: Any, count: Any) -> None:
        get_ema_multi_avg_fn(warm_decay(0.9, int(count)) if warms_up else 0.9)(old, new, count)

    other = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
    assert averaged is not None
    for _ in range(5):
        network[:2](torch.rand(4, 3, 5, 5, dtype=torch.float64))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaged.update_parameters(network)
        other.update_parameters(network)
    ours, theirs = averaged.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
