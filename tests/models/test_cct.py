from __future__ import annotations

import pytest
import torch

from dropkd.errors import ModelError
from dropkd.models import build_network, count_parameters, create_model


@pytest.mark.parametrize(("name", "millions"), [("cct_2_3x2", 0.28), ("cct_4_3x2", 0.48), ("cct_7_3x1", 3.76)])
def test_has_about_as_many_parameters_as_in_the_paper(name: str, millions: float) -> None:
    # The paper's table gives rounded counts for 10 classes, with another kind of position embedding for some.
    assert count_parameters(create_model(name, num_classes=10)) / 1e6 == pytest.approx(millions, abs=0.02)


def test_maps_are_the_blocks_on_the_quartered_grid() -> None:
    shapes = build_network("cct_2_3x2", num_classes=10, image_size=28).shapes
    assert shapes.maps == ((128, 7, 7), (128, 7, 7))
    assert shapes.embedding == 128


def test_deep_ones_give_four_evenly_spaced_maps() -> None:
    assert build_network("cct_7_3x1", num_classes=10).shapes.maps == ((256, 16, 16),) * 4


@pytest.mark.parametrize("size", [(28, 28), (33, 47)])
def test_takes_the_image_size_it_was_built_for(size: tuple[int, int]) -> None:
    network = build_network("cct_2_3x2", num_classes=3, image_size=size).eval()
    assert network.logits(torch.rand(2, 3, 50, 50)).shape == (2, 3)


def test_maps_are_the_folded_tokens() -> None:
    torch.manual_seed(0)
    network = build_network("cct_2_3x2", num_classes=3).eval()
    tokens: list[torch.Tensor] = []
    network.model.blocks[1].register_forward_hook(lambda module, args, output: tokens.append(output))
    maps = network(torch.rand(2, 3, 32, 32)).maps
    row, column = 5, 2
    assert torch.equal(maps[-1][:, :, row, column], tokens[0][:, row * 8 + column])


def test_is_random_in_training_and_not_in_evaluation() -> None:
    torch.manual_seed(0)
    network = build_network("cct_4_3x2", num_classes=3)
    images = torch.rand(4, 3, 32, 32)
    assert not torch.equal(network.train().logits(images), network.logits(images))
    assert torch.equal(network.eval().logits(images), network.logits(images))


def test_drop_rates_are_options() -> None:
    network = build_network("cct_2_3x2", num_classes=3, options={"drop_path": 0.0, "attention_dropout": 0.0})
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(network.train().logits(images), network.logits(images))


def test_unknown_option_is_named_with_a_suggestion() -> None:
    with pytest.raises(ModelError, match=r"'cct_2_3x2' has no option 'drop_paht'.*Did you mean 'drop_path'\?"):
        build_network("cct_2_3x2", num_classes=3, options={"drop_paht": 0.1})
