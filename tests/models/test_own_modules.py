"""A user's own module, wrapped without being edited."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropkd.errors import ModelError
from dropkd.models import open_network, save_network, wrap_model


class Plain(nn.Module):
    """Three stages, functional pooling, one linear layer."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.classify = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(F.adaptive_avg_pool2d(self.body(self.stem(x)), 1).flatten(1))


class Tokens(nn.Module):
    """A transformer with a class token that answers with an object, as some libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.cls = nn.Parameter(torch.zeros(1, 1, 16))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), 1, 16), tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return {"logits": self.head(tokens[:, 0])}


class Headless(nn.Module):
    """Its logits come from no layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.pool(self.features(x)).flatten(1), self.weight)


def test_last_module_of_each_resolution_gives_a_map() -> None:
    network = wrap_model(Plain(), image_size=32)
    assert network.shapes.maps == ((8, 32, 32), (16, 16, 16), (32, 8, 8))
    assert (network.shapes.logits, network.shapes.embedding) == (5, 32)
    assert network.spec.num_classes == 5
    model = network.eval().model
    images = torch.rand(2, 3, 32, 32)
    answer = network(images)
    pixels = network.preprocessing(images, crop=True)
    assert torch.equal(answer.maps[1], model.body[1](model.body[0](model.stem(pixels))))
    assert torch.equal(answer.maps[2], model.body(model.stem(pixels)))
    assert torch.equal(answer.embedding, answer.maps[2].mean((2, 3)))
    assert torch.equal(answer.logits, model(pixels))


def test_stem_before_stages_of_several_layers_gives_no_map() -> None:
    def make_stage(channels_in: int, channels: int) -> nn.Sequential:
        first = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())

    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)]
    for first in (stem, [nn.Sequential(*stem)], [*stem, nn.MaxPool2d(2)]):
        model = nn.Sequential(*first, make_stage(8, 16), make_stage(16, 32), *head)
        assert [c for c, _, _ in wrap_model(model, image_size=32).shapes.maps] == [16, 32]
        named = wrap_model(model, image_size=32, map_modules=["0", str(len(first) + 1)])
        assert [c for c, _, _ in named.shapes.maps] == [8, 32]


def test_named_modules_give_the_maps() -> None:
    network = wrap_model(Plain(), image_size=32, map_modules=["body.0", "body.2"])
    assert network.shapes.maps == ((16, 16, 16), (32, 8, 8))


def test_tokens_are_folded_without_the_class_token() -> None:
    network = wrap_model(Tokens().eval(), image_size=(32, 16), map_modules=["layers.0", "layers.1"]).eval()
    assert network.shapes.maps == ((16, 4, 2), (16, 4, 2))
    assert (network.shapes.logits, network.shapes.embedding) == (3, 16)
    model = network.model
    images = torch.rand(2, 3, 32, 16)
    pixels = network.preprocessing(images, crop=True)
    tokens = torch.cat([model.cls.expand(2, 1, 16), model.patches(pixels).flatten(2).transpose(1, 2)], dim=1)
    expected = model.layers[0](tokens)
    row, column = 3, 1
    assert torch.equal(network(images).maps[0][:, :, row, column], expected[:, 1 + row * 2 + column])


def test_wrong_name_is_answered_with_the_modules_that_there_are() -> None:
    with pytest.raises(ModelError, match=r"Plain has no module 'boddy.0'\. Did you mean 'body.0'\?") as raised:
        wrap_model(Plain(), image_size=32, map_modules=["boddy.0"])
    for line in ("stem (Sequential)", "body.2.0 (Conv2d)", "classify (Linear)"):
        assert line in str(raised.value)


def test_long_listing_shows_the_outer_modules() -> None:
    deep = nn.Sequential(*(Plain(8) for _ in range(1)), *(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(40)))
    with pytest.raises(ModelError) as raised:
        wrap_model(deep, image_size=32, map_modules=["nope"])
    lines = str(raised.value).splitlines()
    assert len(lines) < 70
    assert re.fullmatch(r"  \.\.\. and \d+ more inside or after these", lines[-1])


def test_module_that_gives_no_map_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Module 'classify' gives \(1, 5\), which is no feature map"):
        wrap_model(Plain(), image_size=32, map_modules=["classify"])


def test_embedding_of_a_model_without_a_linear_layer_has_to_be_named() -> None:
    with pytest.raises(ModelError, match=r"no linear layer that gives its 4 logits.*embedding_module"):
        wrap_model(Headless(), image_size=32)
    network = wrap_model(Headless(), image_size=32, embedding_module="pool").eval()
    assert network.shapes.embedding == 8
    answer = network(torch.rand(2, 3, 32, 32))
    assert torch.equal(answer.embedding, answer.maps[-1].mean((2, 3)))


def test_wrong_number_of_classes_is_told() -> None:
    with pytest.raises(ModelError, match="'mine' gives 5 logits, not 7"):
        wrap_model(Plain(), image_size=32, num_classes=7, name="mine")


def test_answer_that_is_no_logits_is_told() -> None:
    with pytest.raises(ModelError, match=r"must answer with logits of shape \(B, K\), got \(1, 8, 16, 16\)"):
        wrap_model(Headless().features, image_size=32)


def test_image_size_that_it_cannot_take_is_told() -> None:
    rigid = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(ModelError, match=r"'custom' can't take images of 16x16 pixels .*Choose another image size"):
        wrap_model(rigid, image_size=16)


def test_model_without_maps_still_gives_logits_and_embedding() -> None:
    rigid = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.ReLU(), nn.Linear(16, 5))
    network = wrap_model(rigid, image_size=8)
    assert network.shapes.maps == ()
    assert network.shapes.embedding == 16


def test_a_copy_of_the_network_is_its_own() -> None:
    network = wrap_model(Plain(), image_size=32).eval()
    images = torch.rand(1, 3, 32, 32)
    twin = copy.deepcopy(network)
    before = network(images)
    nn.init.zeros_(network.model.classify.weight)
    assert torch.equal(twin(images).logits, before.logits)
    assert torch.equal(twin(images).maps[0], before.maps[0])


def test_preprocessing_is_the_users() -> None:
    network = wrap_model(Plain(), image_size=32, mean=(0, 0, 0), std=(1, 1, 1), crop_fraction=0.5).eval()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(network.preprocessing(images, crop=True), images[..., 16:48, 16:48])


def test_file_of_an_own_module_says_how_it_is_opened(tmp_path) -> None:
    save_network(wrap_model(Plain(), image_size=32), tmp_path / "student.safetensors")
    with pytest.raises(ModelError, match=r"holds the weights of 'custom', which no library has.*load_weights"):
        open_network(tmp_path / "student.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interpolation": "cubic"}, "interpolation must be 'bilinear', 'bicubic' or 'nearest', got 'cubic'"),
        ({"crop_fraction": 1.5}, r"crop_fraction must be in \(0, 1\], got 1.5"),
        ({"mean": (0.5,)}, r"one value each for R, G and B, got \(0.5,\)"),
        ({"image_size": None}, "Plain needs image_size"),
    ],
)
def test_wrong_preprocessing_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap_model(Plain(), **{"image_size": 32, **settings})


def test_model_that_timm_built_brings_its_own_preprocessing() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    assert wrap_model(model).spec.mean == (0.5, 0.5, 0.5)
    assert wrap_model(model, mean=(0.1, 0.2, 0.3)).spec.mean == (0.1, 0.2, 0.3)
    assert wrap_model(model, image_size=32).shapes.maps == ((192, 2, 2),)
