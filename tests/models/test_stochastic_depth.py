"""Blocks that are left out in training, by one option for every library, and never outside it."""

from __future__ import annotations

import pytest
import torch

from dropkd.errors import ConfigError, ModelError
from dropkd.models import build_network
from dropkd.models.stochastic_depth import build_dropping_network


def rates_of(name: str, rate: float) -> list[float]:
    model = build_dropping_network(name, rate, {}, num_classes=5, image_size=32).model
    modules = [m for m in model.modules() if type(m).__name__ in ("DropPath", "StochasticDepth")]
    return [float(getattr(m, "drop_prob", getattr(m, "p", None))) for m in modules]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t", "torchvision/swin_t", "cct_2_3x2"])
def test_the_rates_rise_to_that_of_the_last_block(name: str) -> None:
    rates = rates_of(name, 0.3)
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["torchvision/efficientnet_b0", "mobilenetv3_small_050"])
def test_where_a_library_stops_below_the_rate_it_is_the_librarys_own_rule(name: str) -> None:
    rates = rates_of(name, 0.4)
    assert 0 < rates[-1] <= 0.4
    assert rates_of(name, 0.2) == pytest.approx([rate / 2 for rate in rates])


@pytest.mark.parametrize(
    "name", ["cifar_resnet8", "repvit_m0_9", "torchvision/resnet18", "torchvision/vit_b_16", "hrnet_w18_small"]
)
def test_a_model_without_such_blocks_is_refused_by_the_name_of_the_option(name: str) -> None:
    with pytest.raises(ModelError, match=r"no blocks that can be left out at random, so 'student.drop_path' can't"):
        build_dropping_network(name, 0.1, {}, num_classes=5, image_size=64)


def test_the_rate_is_given_once() -> None:
    with pytest.raises(ConfigError, match=r"'student.drop_path' and 'student.options.drop_path_rate'"):
        build_dropping_network("convnext_atto", 0.1, {"drop_path_rate": 0.2}, num_classes=5)


def test_other_mistakes_keep_their_own_words() -> None:
    with pytest.raises(ModelError, match="patch_siz"):
        build_dropping_network("vit_tiny_patch16_224", 0.1, {"patch_siz": 4}, num_classes=5, image_size=32)


def test_blocks_are_left_out_in_training_alone_and_nothing_of_it_is_said_in_files() -> None:
    torch.manual_seed(0)
    options = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2}
    network = build_dropping_network("vit_tiny_patch16_224", 0.6, options, num_classes=5, image_size=32)
    plain = build_network("vit_tiny_patch16_224", options=options, num_classes=5, image_size=32)
    plain.load_state_dict(network.state_dict())
    images = torch.rand(8, 3, 32, 32)
    assert network.spec == plain.spec
    assert torch.equal(network.eval().logits(images), plain.eval().logits(images))
    assert not torch.equal(network.train().logits(images), network.train().logits(images))
