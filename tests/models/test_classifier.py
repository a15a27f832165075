"""The weight of the classifier: found where one linear layer turns the embedding into the logits, else left out."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from dropkd.models import Network, build_network, wrap_model

# name: image size, name of the classifier.
LINEAR = {
    "cifar_resnet8": (16, "fc"),
    "cct_2_3x2": (16, "head"),
    "resnet18": (32, "fc"),
    "resnetv2_18": (32, "head.fc"),  # a 1x1 convolution
    "efficientvit_m0": (64, "head.linear"),  # behind a batch norm
    "mobilenetv3_small_050": (32, "classifier"),
    "deit_tiny_patch16_224": (32, "head"),
    "torchvision/resnet18": (32, "fc"),
    "torchvision/mobilenet_v3_small": (32, "classifier.3"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_embedding_times_the_weight_plus_the_bias_gives_the_logits(name: str) -> None:
    size, classifier = LINEAR[name]
    network = build_network(name, num_classes=5, image_size=size).eval()
    layer = network.model.get_submodule(classifier)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))  # type: ignore[operator, union-attr]
        answer = network(torch.rand(2, 3, size, size))
    assert answer.classifier is not None
    assert answer.classifier.data_ptr() == layer.weight.data_ptr()  # type: ignore[operator, union-attr]
    assert answer.classifier.shape == (5, network.shapes.embedding)
    assert network.shapes.has_classifier
    found = F.linear(answer.embedding, answer.classifier, layer.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(found, answer.logits)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deit_tiny_distilled_patch16_224", 32),  # two heads on two tokens
        ("repvit_m1", 32),  # two heads on one vector
        ("squeezenet1_1", 64),  # a ReLU behind the last convolution
    ],
)
def test_a_head_that_is_not_one_linear_layer_has_no_weight(name: str, size: int) -> None:
    network = build_network(name, num_classes=5, image_size=size).eval()
    assert network(torch.rand(1, 3, size, size)).classifier is None
    assert not network.shapes.has_classifier


class _Headed(nn.Module):
    """A body of 6 channels below any way from their means to 4 logits."""

    def __init__(self, to_logits: Callable[[_Headed, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.second, self.head = nn.Linear(6, 4), nn.Linear(6, 4)
        self.to_logits = to_logits or (lambda model, x: model.head(x))
        for layer in (self.second, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_logits(self, self.pool(self.body(x)).flatten(1))


def test_a_classifier_that_starts_at_zero_is_found() -> None:
    network = wrap_model(_Headed(), image_size=8)
    assert network(torch.rand(2, 3, 8, 8)).classifier is network.model.head.weight


@pytest.mark.parametrize(
    "to_logits",
    [
        lambda model, x: (model.second(x.square()) + model.head(x)) / 2,
        lambda model, x: 2 * model.head(x),
        lambda model, x: model.head(x).relu(),
        lambda model, x: model.head(F.normalize(x)),
    ],
)
def test_layers_at_zero_are_not_taken_for_a_classifier_that_they_are_not(
    to_logits: Callable[[_Headed, Tensor], Tensor],
) -> None:
    network = wrap_model(_Headed(to_logits), image_size=8, embedding_module="pool")
    assert network(torch.rand(2, 3, 8, 8)).classifier is None


def test_a_layer_with_other_arithmetic_is_no_linear_one() -> None:
    class Cosine(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.normalize(x), F.normalize(self.weight), self.bias)

    model = _Headed()
    model.head = Cosine(6, 4)
    assert wrap_model(model, image_size=8).shapes.has_classifier is False


def test_a_named_embedding_still_has_its_classifier() -> None:
    network = wrap_model(_Headed(), image_size=8, embedding_module="pool")
    assert network(torch.rand(2, 3, 8, 8)).classifier is network.model.head.weight


def test_finding_it_leaves_the_model_as_it_was() -> None:
    model = _Headed()
    parameters, before = dict(model.named_parameters()), copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    network = wrap_model(model, image_size=8)
    assert torch.equal(torch.rand(2), expected)
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(network.state_dict()) == {f"model.{name}" for name in before}
    assert len(list(network.parameters())) == len(parameters)


def test_copies_and_averages_answer_with_their_own_weight() -> None:
    network = wrap_model(_Headed(), image_size=8)
    images = torch.rand(2, 3, 8, 8)
    twin, average = copy.deepcopy(network), AveragedModel(network)
    nn.init.ones_(network.model.head.weight)
    assert not twin(images).classifier.any()
    assert not average(images).classifier.any()
    twin.load_state_dict(network.state_dict())
    assert twin(images).classifier.eq(1).all()


def test_it_is_there_without_the_maps_and_in_full_precision_under_autocast() -> None:
    network = build_network("cifar_resnet8", num_classes=3).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = network(torch.rand(2, 3, 32, 32), maps=False)
    assert answer.logits.dtype == torch.bfloat16
    assert answer.classifier is network.model.fc.weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_models_of_any_precision_have_one(dtype: torch.dtype) -> None:
    model = build_network("resnetv2_18", num_classes=3, image_size=32).model.to(dtype)
    assert wrap_model(model, image_size=32).shapes.has_classifier


def test_a_model_without_values_has_none() -> None:
    with torch.device("meta"):
        network: Network = build_network("cifar_resnet8", num_classes=3)
    assert not network.shapes.has_classifier


def test_a_layer_whose_weight_is_no_tensor_any_more_gives_none() -> None:
    network = wrap_model(_Headed(), image_size=8).eval()
    network.model.head = nn.Sequential(network.model.head)
    assert network(torch.rand(1, 3, 8, 8)).classifier is None
