"""What students and teachers of each kind cost without being run."""

from __future__ import annotations

import torch
from torch import nn

from dropkd.metrics import count_macs
from dropkd.metrics.network_cost import StaticCost, count_bytes, measure_network
from dropkd.models import build_network, ensemble, map_labels
from dropkd.models.teachers.logits_only import wrap_callable

NAMES = ("cat", "dog", "car")


def test_a_network_costs_what_its_model_does_at_its_own_size() -> None:
    network = build_network("cifar_resnet8", num_classes=3, image_size=16)
    found = measure_network(network)
    assert found == StaticCost(77_587, count_macs("cifar_resnet8", 16, num_classes=3), count_bytes(network.model))
    # Four bytes a parameter, two running statistics for each of the 272 channels that are normed.
    assert found.bytes == sum(t.numel() * t.element_size() for t in network.model.state_dict().values())


def test_an_ensemble_costs_the_sum_of_its_members_each_at_its_own_size() -> None:
    small = build_network("cifar_resnet8", num_classes=3, image_size=16, classes=NAMES)
    large = build_network("cifar_vgg8", num_classes=3, image_size=32, classes=NAMES)
    one, other, both = (measure_network(network) for network in (small, large, ensemble([small, large])))
    assert one.macs is not None
    assert other.macs is not None
    assert both == StaticCost(one.parameters + other.parameters, one.macs + other.macs, one.bytes + other.bytes)
    mapped = map_labels(ensemble([small, large]), {"cat": "pet", "dog": "pet", "car": "thing"}, ["pet", "thing"])
    assert measure_network(mapped) == both


def test_what_goes_unseen_is_unknown_rather_than_nothing() -> None:
    brightness = wrap_callable(lambda images: images.mean((2, 3)), image_size=8, name="brightness")
    assert measure_network(brightness) == StaticCost(0, None, 0)
    known = build_network("cifar_resnet8", num_classes=3)
    assert measure_network(ensemble([known, brightness])).macs is None


def test_tensors_that_are_shared_are_counted_once() -> None:
    layer = nn.Linear(4, 4, bias=False)
    assert count_bytes(nn.ModuleList([layer, layer])) == 64
    assert count_bytes(nn.BatchNorm1d(4).to(torch.float64)) == 4 * 4 * 8 + 8
