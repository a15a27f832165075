"""Rounded networks compute as their int8 files will, and stay the networks that they were."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.models import build_network, wrap_model
from dropkd.models.rounding import Rounding, Roundings, round_network, unround_network
from dropkd.models.rounding_places import RoundingPlan, find_places
from dropkd.models.tapped import TappedNetwork

SIZE = (32, 32)


def build(name: str, size: tuple[int, int] = SIZE) -> TappedNetwork:
    torch.manual_seed(0)
    network = build_network(name, num_classes=4, image_size=size).eval()
    # So that batch norms are not the identity that they are at first.
    network.train()
    with torch.no_grad():
        network(torch.rand(16, 3, *size))
    return network.eval()


def rounded(network: TappedNetwork, bits: int = 8) -> Roundings:
    """Round a network by the ranges that a batch of noise has."""
    roundings = Roundings(find_places(network.model, torch.rand(1, 3, *network.spec.image_size)), bits)
    round_network(network, roundings)
    return roundings


def watch(network: TappedNetwork, images: Tensor) -> None:
    """Let the ranges follow a batch, without a change to batch norms."""
    network.roundings.switch(network.model, is_on=True, is_watching=True)
    network.roundings.train()
    with torch.no_grad():
        network(images, crop=False)
    network.roundings.eval()


def place_of(plan: RoundingPlan, number: int | None) -> tuple[tuple[tuple[str, int], ...], str] | None:
    return None if number is None else (plan.places[number].turns, plan.places[number].side)


def test_rounding_is_that_of_the_formula_and_gradients_pass_within_the_range() -> None:
    rounding = Rounding().train()
    rounding.is_on = rounding.is_watching = True
    values = torch.tensor([-1.0, -0.4, 0.013, 0.9, 3.0])
    rounding(values)
    rounding.is_watching = False
    beyond = torch.tensor([-2.0, -0.4, 0.013, 0.9, 4.0], requires_grad=True)
    found = rounding(beyond)
    step = 4 / 255
    zero = np.rint(1 / step)
    expected = (np.clip(np.rint(beyond.detach().numpy() / step) + zero, 0, 255) - zero) * step
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    found.sum().backward()
    assert beyond.grad is not None
    assert beyond.grad.tolist() == [0, 1, 1, 1, 0]


def test_ends_follow_the_batches_in_training_alone() -> None:
    rounding = Rounding()
    rounding.is_on = rounding.is_watching = True
    rounding.train()(torch.tensor([-1.0, 2.0]))
    assert (float(rounding.low), float(rounding.high)) == (-1, 2)
    rounding(torch.tensor([-3.0, 4.0]))
    assert (float(rounding.low), float(rounding.high)) == pytest.approx((-1.1, 2.1))
    rounding.eval()(torch.tensor([-9.0, 9.0]))
    assert (float(rounding.low), float(rounding.high)) == pytest.approx((-1.1, 2.1))


def test_zero_is_kept_whatever_the_range() -> None:
    rounding = Rounding().train()
    rounding.is_on = rounding.is_watching = True
    assert rounding(torch.tensor([2.0, 3.0, 0.0])).tolist()[2] == 0
    assert torch.isfinite(Rounding.forward(_on(Rounding()), torch.randn(5))).all()


def _on(rounding: Rounding) -> Rounding:
    rounding.is_on = True
    return rounding


class Small(nn.Module):
    """A block with a shortcut, and one ReLU for all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(images)))
        x = self.relu(self.second(x) + x)
        logits: Tensor = self.head(self.third(x).mean((2, 3)))
        return logits


class Standardized(nn.Conv2d):
    """A convolution that does not use its weight as it is."""

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight - self.weight.mean(), padding=1)


def test_results_are_rounded_after_the_batch_norm_and_the_relu_that_belong_to_them() -> None:
    plan = find_places(Small().eval(), torch.rand(1, 3, 8, 8))
    first, second, third, head = plan.layers
    assert place_of(plan, first.input) == ((("first", 0),), "input")
    assert place_of(plan, first.output) == ((("relu", 0),), "output")
    assert second.input == first.output
    assert place_of(plan, second.output) == ((("second", 0),), "output")
    assert place_of(plan, third.input) == ((("relu", 1),), "output")
    assert place_of(plan, third.output) == ((("third", 0),), "output")
    assert place_of(plan, head.input) == ((("head", 0),), "input")
    assert head.output is None
    assert plan.calls["relu"] == 2


def test_a_rounded_network_is_what_one_writes_by_hand() -> None:
    torch.manual_seed(0)
    network = wrap_model(Small(), image_size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1)).eval()
    roundings = rounded(network)
    images = torch.rand(4, 3, 8, 8)
    watch(network, images)
    model = network.model
    taken, after, second, again, third, pooled = (roundings.places[n] for n in range(6))
    assert float(after.high) != float(again.high)
    with torch.no_grad():
        x = after(F.relu(model.norm(F.conv2d(taken(images), model.first.weight, padding=1))))
        # The same ReLU once more, with another range.
        y = again(F.relu(second(F.conv2d(x, model.second.weight, model.second.bias, padding=1)) + x))
        z = third(F.conv2d(y, model.third.weight, model.third.bias))
        expected = F.linear(pooled(z.mean((2, 3))), model.head.weight, model.head.bias)
        assert torch.equal(network(images).logits, expected)


def test_weights_that_are_not_used_as_they_are_are_left_alone() -> None:
    model = nn.Sequential(Standardized(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    assert [layer.name for layer in find_places(model, torch.rand(1, 3, 8, 8)).layers] == ["2"]


@pytest.mark.parametrize(
    ("name", "size"),
    [("cifar_resnet8", SIZE), ("cifar_mobilenetv2", SIZE), ("mobilenetv3_small_050", (64, 64)),
     ("torchvision/resnet18", (64, 64)), ("vit_tiny_patch16_224", (224, 224)), ("convnext_atto", (64, 64))],
)  # fmt: skip
def test_a_rounded_network_stays_itself(name: str, size: tuple[int, int]) -> None:
    network, images = build(name, size), torch.rand(4, 3, *size)
    names, kinds = list(network.state_dict()), [type(module) for module in network.modules()]
    with torch.no_grad():
        plain = network(images).logits
        roundings = rounded(network)
        layers = [m for m in network.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert len(roundings.plan.layers) == len(layers)
        assert [key for key in network.state_dict() if not key.startswith("roundings.")] == names
        assert torch.equal(network(images).logits, plain)
        watch(network, images)
        near = network(images).logits
    assert 0 < float((near - plain).abs().mean()) < 0.2 * float(plain.std())
    network.train()
    network(images).logits.square().sum().backward()
    assert [key for key, p in network.model.named_parameters() if p.grad is None] == []
    network.eval()
    unround_network(network)
    assert [type(module) for module in network.modules()] == kinds
    assert list(network.state_dict()) == names
    with torch.no_grad():
        assert not torch.equal(near, network(images).logits)


def test_a_network_that_is_made_plain_again_answers_as_before() -> None:
    network, images = build("cifar_resnet8"), torch.rand(4, 3, *SIZE)
    with torch.no_grad():
        plain = network(images).logits
        rounded(network)
        watch(network, images)
        unround_network(network)
        assert torch.equal(network(images).logits, plain)


def test_a_copy_is_rounded_by_its_own_ranges() -> None:
    network, images = build("cifar_resnet8"), torch.rand(4, 3, *SIZE)
    roundings = rounded(network)
    watch(network, images)
    other = copy.deepcopy(network)
    with torch.no_grad():
        before = network(images).logits
        assert torch.equal(other(images).logits, before)
        for buffer in roundings.buffers():
            buffer.zero_()
        assert torch.equal(other(images).logits, before)
        assert not torch.equal(network(images).logits, before)
    other.roundings.switch(other.model, is_on=False)
    assert roundings.is_on


def test_what_is_described_makes_the_same_network_again() -> None:
    network, images = build("torchvision/resnet18", (64, 64)), torch.rand(4, 3, 64, 64)
    rounded(network, bits=5)
    watch(network, images)
    described = network.roundings.describe()
    again = build("torchvision/resnet18", (64, 64))
    again.load_state_dict({key: v for key, v in network.state_dict().items() if not key.startswith("roundings.")})
    roundings = Roundings.from_description(described)
    round_network(again, roundings)
    roundings.switch(again.model, is_on=True)
    with torch.no_grad():
        assert torch.equal(again(images).logits, network(images).logits)
    assert roundings.describe() == described


def test_a_pass_that_was_broken_off_does_not_shift_the_turns() -> None:
    network, images = build("torchvision/resnet18", (64, 64)), torch.rand(4, 3, 64, 64)
    rounded(network)
    watch(network, images)

    def stop(module: nn.Module, args: Any) -> None:
        raise KeyboardInterrupt

    with torch.no_grad():
        expected = network(images).logits
        handle = network.model.layer2[0].bn2.register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            network(images)
        handle.remove()
        assert torch.equal(network(images).logits, expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), bits=st.integers(4, 8))
def test_folding_a_batch_norm_and_rounding_come_to_the_same_in_either_order(seed: int, bits: int) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(3, 5, 3, bias=False)
    factor = torch.randn(5).double()
    network = wrap_model(
        nn.Sequential(conv, nn.Flatten(), nn.Linear(5, 2)), image_size=(3, 3), mean=(0, 0, 0), std=(1, 1, 1)
    ).eval()
    rounded(network, bits)
    network.roundings.switch(network.model, is_on=True)
    first = conv.weight.detach().double() * factor[:, None, None, None]
    folded = conv._parameters["weight"].detach().double() * factor[:, None, None, None]  # type: ignore[union-attr]
    step = folded.abs().flatten(1).amax(1)[:, None, None, None] / (2 ** (bits - 1) - 1)
    second = torch.round(folded / step) * step
    # A weight that lies in the middle between two levels may go either way.
    middle = ((folded / step).abs() % 1 - 0.5).abs() < 1e-4
    torch.testing.assert_close(first[~middle], second[~middle], atol=1e-5, rtol=1e-5)
