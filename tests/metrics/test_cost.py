"""Parameters and multiply-adds against what was published of the models."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.metrics import count_macs, measure_cost
from dropkd.metrics.cost import _count
from dropkd.models import build_network, wrap_model

# torchvision publishes the cost of each of its models, counted by its maintainers, in units of 10**9.
TORCHVISION = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "maxvit_t"),
    *("mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d"),
    *("regnet_x_400mf", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg16", "vit_b_16", "vit_h_14"),
    "wide_resnet50_2",
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_those_that_torchvision_publishes(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    cost = measure_cost(f"torchvision/{name}", weights.transforms().crop_size[0])
    assert cost.macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)
    assert cost.parameters == weights.meta["num_params"]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # He et al. 2016 count 1.8 and 3.8 (with the stride at the first convolution); libraries have 4.09 to 4.11.
        ("resnet18", 1.82),
        ("resnet50", 4.1),
        # Sandler et al. 2018.
        ("mobilenetv2_100", 0.3),
        # Touvron et al. 2021, with attention.
        ("deit_small_patch16_224", 4.6),
        ("vit_base_patch16_224", 17.6),
        # Radford et al. 2021's largest, by its library's own table.
        ("vit_large_patch14_clip_224", 81.1),
        # Mehta and Rastegari 2022, at 256 pixels.
        ("mobilevitv2_100", 1.8),
        ("mobilevitv2_050", 0.5),
    ],
)
def test_counts_of_timms_models_are_the_published_ones(name: str, published: float) -> None:
    assert count_macs(name) / 1e9 == pytest.approx(published, rel=0.01, abs=0.05)


# timm's own results (results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv in its repository), in units of 10**9 at
# 224 pixels, counted by fvcore, which takes norms as well.
TIMM = {
    "convnext_nano": 2.46, "deit_small_patch16_224": 4.61, "efficientvit_b1": 0.53, "ghostnet_100": 0.15,
    "levit_128s": 0.31, "mixnet_s": 0.25, "poolformer_s12": 1.82, "pvt_v2_b0": 0.57, "regnety_016": 1.63,
    "repvgg_a0": 1.52, "resmlp_12_224": 3.01, "xcit_nano_12_p16_224": 0.56,
}  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_what_timm_publishes_lies_between_the_products_alone_and_those_with_norms_and_activations(name: str) -> None:
    cost = measure_cost(name, 224)
    # Printed to two digits.
    assert cost.macs / 1e9 - 0.006 <= TIMM[name] <= (cost.macs + cost.elementwise) / 1e9 + 0.006
    assert TIMM[name] == pytest.approx(cost.macs / 1e9, rel=0.15)


def test_the_papers_fourth_table_comes_out_to_the_printed_digits() -> None:
    resnet18 = measure_cost("resnet18", 224, num_classes=7)
    assert f"{resnet18.parameters / 1e6:.2f}" == "11.18"
    assert f"{resnet18.macs / 1e9:.1f}" == f"{(resnet18.macs + resnet18.elementwise) / 1e9:.1f}" == "1.8"
    mobilenet = measure_cost("mobilenetv2_100", 224)
    assert f"{mobilenet.parameters / 1e6:.1f}" == "3.5"
    # 320 M are reached with what norms and activations add, and not without.
    assert f"{(mobilenet.macs + mobilenet.elementwise) / 1e6:.0f}" == "320"
    assert f"{mobilenet.macs / 1e6:.0f}" == "301"
    own_head = measure_cost("mobilenetv2_100", 224, num_classes=7)
    assert f"{own_head.parameters / 1e6:.2f}" == "2.23"
    assert f"{(own_head.macs + own_head.elementwise) / 1e6:.0f}" == "319"


def test_the_papers_resnet50_is_the_one_with_its_strides_at_the_first_convolution() -> None:
    model = torchvision.models.resnet50(num_classes=7)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    cost = measure_cost(model, 224)
    assert f"{(cost.macs + cost.elementwise) / 1e9:.2f}" == "3.89"
    assert f"{cost.parameters / 1e6:.2f}" == "23.52"
    usual = measure_cost("resnet50", 224, num_classes=7)
    assert f"{usual.macs / 1e9:.2f}" == "4.09"
    assert usual.parameters == cost.parameters


class Sum(nn.Module):
    """One of each kind, small enough to count by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.relu(self.norm(self.convolution(x))).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head(mixed.mean(1))


def test_each_kind_is_counted_as_by_hand() -> None:
    cost = measure_cost(Sum(), (2, 3))
    convolution, projections, products, head = 6 * 4 * 27, 6 * 4 * 16, 2 * 6 * 6 * 4, 4 * 5
    assert cost.macs == convolution + projections + products + head
    assert cost.elementwise == 24 * 2 + 24
    assert cost.image_size == (2, 3)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "torchvision/vit_b_32", "mobilenetv3_small_050", "cct_2_3x2"])
def test_a_pass_without_values_counts_what_a_real_one_does(name: str) -> None:
    network = build_network(name, num_classes=3)
    size = network.spec.image_size
    assert _count(network.model, size, torch.device("meta")) == _count(network.model, size, None)


class Judging(nn.Module):
    """Looks at values on its way, which is impossible without any."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits * 2 if float(logits.sum()) > 0 else logits


def test_a_model_that_looks_at_values_is_run_for_real() -> None:
    assert count_macs(Judging(), 2) == 60


def test_counting_leaves_a_model_as_it_was() -> None:
    model = timm.create_model("resnet10t", num_classes=3)
    model.bn1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    count_macs(model, 32)
    assert torch.equal(torch.rand(2), expected)
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_network_is_counted_at_its_own_size() -> None:
    network = build_network("cifar_resnet8", num_classes=100, image_size=16)
    assert count_macs(network) == count_macs("cifar_resnet8", 16)
    assert count_macs(network, 32) == count_macs("cifar_resnet8")
    assert count_macs(timm.create_model("resnet10t")) == count_macs("resnet10t")


def test_what_cannot_be_counted_is_told() -> None:
    with pytest.raises(ModelError, match=r"Unknown model 'resnt18'\. Did you mean 'resnet18'\?"):
        count_macs("resnt18")
    with pytest.raises(ModelError, match=r"'vgg16' can't take images of 8x8 pixels"):
        count_macs("vgg16", 8)
    with pytest.raises(ModelError, match="'resnet18' needs at least one class, got num_classes=0"):
        count_macs("resnet18", num_classes=0)
    with pytest.raises(ModelError, match="Judging needs image_size"):
        count_macs(Judging())
    with pytest.raises(ModelError, match="can't take images of 3x3 pixels"):
        count_macs(wrap_model(Judging(), image_size=2), 3)
