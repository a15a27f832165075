"""Maps from gradients: against a calculation by hand, on random weights, and on an object that decides alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dropkd.models import wrap_model
from dropkd.models.tapped import TappedNetwork
from dropkd.overlays.gradients import gradient_maps
from dropkd.overlays.places import find_place


class SmallNet(nn.Module):
    """Two convolutions, a mean over the positions and a linear layer: all that can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Conv2d(4, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.act(self.body(self.stem(x).relu())).mean((2, 3)))
        return logits


def wrap(model: nn.Module, size: int = 16) -> TappedNetwork:
    return wrap_model(model, image_size=size, map_modules=["act"], mean=(0, 0, 0), std=(1, 1, 1)).eval()


@pytest.fixture
def network() -> TappedNetwork:
    torch.manual_seed(0)
    return wrap(SmallNet()).requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_grad_cam_is_what_a_calculation_by_hand_gives(network: TappedNetwork, images: Tensor) -> None:
    model = network.model
    asked = torch.tensor([0, 2, 1])
    found, logits = gradient_maps(network, images, asked, find_place(network, images), averaged=True)
    features = model.act(model.body(model.stem(images).relu()))
    # After the mean over 8 x 8 positions each has 1/64 of the weight as its gradient.
    expected = (features * model.head.weight[asked][:, :, None, None] / 64).sum(1).relu()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logits, model(images))


def test_hires_cam_adds_up_to_the_logit_without_its_bias_before_what_speaks_against_is_cut_off(
    network: TappedNetwork, images: Tensor
) -> None:
    place, asked = find_place(network, images), torch.tensor([1, 1, 1])
    network.model.head.weight.abs_()
    found, logits = gradient_maps(network, images, asked, place, averaged=False)
    torch.testing.assert_close(found.sum((1, 2)), logits[:, 1] - network.model.head.bias[1])


def test_both_are_the_same_where_a_mean_over_the_positions_follows(network: TappedNetwork, images: Tensor) -> None:
    place, asked = find_place(network, images), torch.tensor([0, 1, 2])
    one, other = (gradient_maps(network, images, asked, place, averaged=a)[0] for a in (True, False))
    torch.testing.assert_close(one, other)


class FlatNet(nn.Module):
    """A convolution and a linear layer with a weight of its own for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 4, stride=4)
        self.act = nn.ReLU()
        self.head = nn.Linear(5 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.act(self.body(x)).flatten(1))
        return logits


def test_they_differ_where_each_position_has_a_weight_of_its_own(images: Tensor) -> None:
    torch.manual_seed(2)
    network = wrap(FlatNet()).requires_grad_(False)
    place, asked = find_place(network, images), torch.tensor([0, 1, 2])
    features = network.model.act(network.model.body(images))
    weight = network.model.head.weight[asked].view(3, 5, 4, 4)
    cam, hires = (gradient_maps(network, images, asked, place, averaged=a)[0] for a in (True, False))
    torch.testing.assert_close(cam, (features * weight.mean((2, 3), keepdim=True)).sum(1).relu())
    torch.testing.assert_close(hires, (features * weight).sum(1).relu())
    assert not torch.allclose(cam, hires, atol=1e-3)


def test_rows_of_a_batch_do_not_touch_each_other(network: TappedNetwork, images: Tensor) -> None:
    place, asked = find_place(network, images), torch.tensor([0, 1, 2])
    together = gradient_maps(network, images, asked, place, averaged=True)[0]
    for row in range(3):
        alone = gradient_maps(network, images[row : row + 1], asked[row : row + 1], place, averaged=True)[0]
        torch.testing.assert_close(alone[0], together[row])


def test_asking_leaves_no_hook_and_no_gradient(network: TappedNetwork, images: Tensor) -> None:
    before = network(images).logits
    gradient_maps(network, images, torch.tensor([0, 1, 2]), find_place(network, images), averaged=True)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(network(images).logits, before)


def test_bytes_and_fractions_of_an_image_give_the_same_map(network: TappedNetwork) -> None:
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    place, asked = find_place(network, image), torch.tensor([0, 1])
    one, other = (gradient_maps(network, i, asked, place, averaged=True)[0] for i in (image, image / 255))
    torch.testing.assert_close(one, other)
