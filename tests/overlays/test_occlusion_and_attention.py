"""Maps without gradients: by covering, against what can be counted; by attention, against the product by hand."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models import Network, build_network, wrap_callable, wrap_model
from dropkd.overlays.attention import attention_maps, has_attention
from dropkd.overlays.occlusion import occlusion_maps


def test_covering_costs_where_the_answer_comes_from_and_nowhere_else() -> None:
    # The first class wants the cell at the top left bright.
    def answer(x: Tensor) -> Tensor:
        bright = x[:, 0, :4, :4].mean((1, 2))
        return torch.stack([9 * bright, 0 * bright], 1)

    network = wrap_callable(answer, image_size=32)
    images = torch.zeros(2, 3, 32, 32)
    images[:, :, :4, :4] = 1
    maps, logits = occlusion_maps(network, images, torch.tensor([0, 1]))
    assert torch.equal(logits, network.logits(images))
    # The one square over the bright cell, in the mean colour, leaves 1/64 of its brightness. It is one of the two that
    # cover each of the next cells, and one of the four over the cell beyond the corner.
    fall = torch.tensor(9.0).sigmoid().log() - torch.tensor(9 / 64).sigmoid().log()
    expected = fall * torch.tensor([[1, 1 / 2], [1 / 2, 1 / 4]])
    torch.testing.assert_close(maps[0, :2, :2], expected)
    assert maps[0, 2:].sum() == maps[0, :, 2:].sum() == 0
    assert maps[1].sum() == 0


def test_only_what_the_network_is_shown_is_covered() -> None:
    network = wrap_callable(lambda x: x.mean((2, 3)), image_size=16, crop_fraction=0.5)
    # In the middle half stands a bright column at its left edge.
    images = torch.zeros(1, 3, 32, 32)
    images[..., 8:24, 8:10] = 1
    maps, _ = occlusion_maps(network, images, torch.tensor([0]), multi_label=True)
    assert (maps[0, :, 0] > 0).all()
    assert maps[0, :, 2:].sum() == 0


def test_several_labels_are_asked_each_by_itself() -> None:
    network = wrap_callable(lambda x: 4 * x.mean((2, 3)), image_size=16)
    images = torch.rand(1, 3, 16, 16)
    one, _ = occlusion_maps(network, images, torch.tensor([0]), multi_label=True)
    images[:, 1:] = 0
    other, _ = occlusion_maps(network, images, torch.tensor([0]), multi_label=True)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["cct_2_3x2", "vit_tiny_patch16_224"])
def test_attention_is_multiplied_through_the_layers_as_by_hand(name: str) -> None:
    size = 28 if name.startswith("cct") else 64
    network = build_network(name, num_classes=3, image_size=(size, size), pretrained=False).eval()
    images = torch.rand(2, 3, size, size)
    found, logits = attention_maps(network, images)
    assert torch.equal(logits, network.logits(images))
    flow = _flow_by_hand(network, images)
    row = flow.mean(1) if name.startswith("cct") else flow[:, 0, 1:]
    torch.testing.assert_close(found.flatten(1), row, rtol=1e-4, atol=1e-6)


def _flow_by_hand(network: Network, images: Tensor) -> Tensor:
    weights: list[Tensor] = []
    attentions = [m for m in network.model.modules() if type(m).__name__ in ("Attention", "_Attention")]
    handles = [m.register_forward_pre_hook(lambda m, a: weights.append(_weights_by_hand(m, a[0]))) for m in attentions]
    with torch.no_grad():
        network.logits(images)
    for handle in handles:
        handle.remove()
    assert len(weights) == len(attentions) > 1
    flow = torch.eye(weights[0].shape[-1])
    for layer in weights:
        flow = ((layer + torch.eye(layer.shape[-1])) / 2) @ flow
    return flow


def _weights_by_hand(attention: nn.Module, tokens: Tensor) -> Tensor:
    rows, count, width = tokens.shape
    heads = attention.num_heads if hasattr(attention, "num_heads") else attention.heads
    query, key, _ = attention.qkv(tokens).reshape(rows, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    return ((query / (width // heads) ** 0.5) @ key.transpose(-2, -1)).softmax(-1).mean(1)


def test_a_transformer_that_reads_the_mean_beside_a_class_token_is_followed_from_the_mean() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=3, global_pool="avg")
    for block in model.blocks:
        # With its first weights each token attends to all alike.
        block.attn.qkv.weight.data *= 20
    network, images = wrap_model(model).eval(), torch.rand(2, 3, 64, 64)
    found, _ = attention_maps(network, images)
    expected = _flow_by_hand(network, images)[:, 1:, 1:].mean(1)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found.flatten(1), _flow_by_hand(network, images)[:, 0, 1:], rtol=1e-3, atol=0)


def test_the_attention_of_torchs_own_layers_is_seen() -> None:
    network = build_network("torchvision/vit_b_16", num_classes=3, image_size=(32, 32), pretrained=False).eval()
    images = torch.rand(1, 3, 32, 32)
    maps, logits = attention_maps(network, images)
    assert maps.shape == (1, 2, 2)
    assert 0 < maps.sum() < 1
    torch.testing.assert_close(logits, network.logits(images), rtol=1e-4, atol=1e-5)


def test_a_network_without_attention_over_all_positions_is_refused() -> None:
    for name, size in (("cifar_resnet8", 28), ("swin_tiny_patch4_window7_224", 128)):
        network = build_network(name, num_classes=3, image_size=(size, size), pretrained=False).eval()
        with pytest.raises(ModelError, match="no attention over all positions"):
            attention_maps(network, torch.rand(1, 3, size, size))


@pytest.mark.parametrize(
    ("name", "size", "attends"),
    [
        ("cifar_resnet8", 28, False),
        ("mobilenetv3_small_050", 64, False),
        ("cct_2_3x2", 28, True),
        ("vit_tiny_patch16_224", 64, True),
        ("swin_tiny_patch4_window7_224", 128, True),
    ],
)
def test_networks_with_attention_are_told_from_those_without(name: str, size: int, attends: bool) -> None:
    network = build_network(name, num_classes=3, image_size=(size, size), pretrained=False).eval()
    assert has_attention(network, torch.rand(1, 3, size, size)) == attends
