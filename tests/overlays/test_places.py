"""Where maps are read, for networks of every kind."""

from __future__ import annotations

import pytest
import torch

from dropkd.errors import ModelError
from dropkd.models import build_network, wrap_callable
from dropkd.overlays.places import ask_at, find_place

# Model, size; module, what of it, layout, grid.
PLACES = [
    ("cifar_resnet8", 28, "layer3", "output", "channels first", (7, 7)),
    # Its last maps are pooled by a function, so no module gives them as they are.
    ("cifar_vgg8", 32, "3", "map", "channels first", (4, 4)),
    ("resnet18", 64, "layer3", "output", "channels first", (4, 4)),
    ("resnet18", 32, "layer2", "output", "channels first", (4, 4)),
    ("cct_2_3x2", 28, "blocks.1", "output", "tokens", (7, 7)),
    # Its logits hang on the class token alone, which reads the others for the last time in the last block.
    ("vit_tiny_patch16_224", 96, "blocks.11", "input", "tokens", (6, 6)),
    ("deit_tiny_distilled_patch16_224", 96, "blocks.11", "input", "tokens", (6, 6)),
    ("swin_tiny_patch4_window7_224", 128, "layers.3", "output", "channels last", (4, 4)),
    # Its classifier starts at zero, so that no logit hangs on anything yet.
    ("mixer_s32_224", 224, "blocks.7", "output", "tokens", (7, 7)),
    # A list of features, the channels last within.
    ("torchvision/densenet121", 64, "features.denseblock3", "output", "channels first", (4, 4)),
]


@pytest.mark.parametrize(("name", "size", "module", "side", "layout", "grid"), PLACES)
def test_the_deepest_map_with_positions_that_matter_is_read(
    name: str, size: int, module: str, side: str, layout: str, grid: tuple[int, int]
) -> None:
    network = build_network(name, num_classes=4, image_size=(size, size), pretrained=False).eval().requires_grad_(False)
    images = torch.rand(2, 3, size, size)
    place = find_place(network, images)
    assert (place.module, place.side, place.layout, place.grid) == (module, side, layout, grid)
    features, answer = ask_at(network, images, place)
    assert place.fold(features).shape[-2:] == grid
    torch.testing.assert_close(answer.logits.detach(), network.logits(images), rtol=1e-4, atol=1e-5)


def test_a_network_that_shows_nothing_of_its_inside_is_refused_with_a_way_out() -> None:
    network = wrap_callable(lambda images: images.mean((2, 3)), image_size=8, name="brightness")
    with pytest.raises(ModelError, match=r"'brightness' shows no map .* occlusion needs none"):
        find_place(network, torch.rand(2, 3, 8, 8))
