from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dropkd.errors import ModelError
from dropkd.models import Network, build_network, count_parameters, create_model, wrap_model
from dropkd.models.spec import ModelSpec
from dropkd.models.tapped import TappedNetwork


def _build(crop_fraction: float = 1.0) -> Network:
    torch.manual_seed(0)
    return wrap_model(create_model("cifar_resnet8", num_classes=3), image_size=16, crop_fraction=crop_fraction)


def test_construction_leaves_random_state_statistics_and_modes_as_they_were() -> None:
    model = create_model("cifar_resnet8", num_classes=3)
    model.bn1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    TappedNetwork(model, ModelSpec("x", num_classes=3, image_size=(32, 32)))
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert model.layer1.training
    assert not model.bn1.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_state_dict_is_the_models() -> None:
    network = _build()
    assert set(network.state_dict()) == {f"model.{key}" for key in network.model.state_dict()}
    assert count_parameters(network) == count_parameters(network.model)


def test_shared_parameters_are_counted_once() -> None:
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 20


def test_images_of_any_size_are_resized() -> None:
    network = _build().eval()
    for size in ((16, 16), (28, 28), (50, 20)):
        assert network(torch.rand(2, 3, *size)).shapes == network.shapes


def test_maps_are_left_out_on_demand() -> None:
    network = _build().eval()
    images = torch.rand(2, 3, 16, 16)
    full, lean = network(images), network(images, maps=False)
    assert lean.maps == ()
    assert torch.equal(lean.logits, full.logits)
    assert torch.equal(lean.embedding, full.embedding)


def test_centre_is_cropped_in_evaluation_unless_told_otherwise() -> None:
    network = _build(crop_fraction=0.5).eval()
    images = torch.rand(2, 3, 32, 32)
    inner = images[..., 8:24, 8:24]
    assert torch.equal(network.logits(images), network(inner, crop=False).logits)
    assert not torch.equal(network(images, crop=False).logits, network.logits(images))
    whole = network(images, crop=False).logits
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.training = False
    network.training = True
    assert torch.equal(network.logits(images), whole)


def test_batch_of_one_gives_the_answer_of_a_full_batch() -> None:
    network = _build().eval()
    images = torch.rand(64, 3, 24, 24)
    with torch.no_grad():
        together = network.logits(images)
        alone = torch.cat([network.logits(image[None]) for image in images])
    torch.testing.assert_close(alone, together)


def test_gradients_reach_each_parameter() -> None:
    for name in ("cifar_resnet8", "cct_2_3x2"):
        network = build_network(name, num_classes=3)
        network(torch.rand(4, 3, 32, 32)).logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_copy_is_independent() -> None:
    network = _build().eval()
    twin = copy.deepcopy(network)
    nn.init.zeros_(twin.model.fc.weight)
    assert network.model.fc.weight.any()


def test_takes_the_type_of_the_model() -> None:
    network = wrap_model(create_model("cifar_resnet8", num_classes=3).double(), image_size=16).eval()
    assert network.logits(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).dtype == torch.float64


@pytest.mark.parametrize("name", ["cct_2_3x2", "mobilenetv3_small_050"])
def test_compiles_without_a_break(name: str) -> None:
    network = build_network(name, num_classes=3, image_size=32).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        answer, expected = compiled(images), network(images)
    torch.testing.assert_close(answer.logits, expected.logits)
    assert answer.shapes == expected.shapes
    torch._dynamo.reset()


def test_network_with_hooks_still_works_under_compilation() -> None:
    network = build_network("torchvision/resnet18", num_classes=3, image_size=32).eval()
    compiled = torch.compile(network, backend="eager")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(compiled(images).logits, network.logits(images))
    torch._dynamo.reset()


def test_wrong_image_size_is_told() -> None:
    with pytest.raises(ModelError, match=r"'vit_tiny_patch16_224' can't take images of 28x28 pixels"):
        build_network("vit_tiny_patch16_224", num_classes=3, image_size=28, options={"img_size": 32})
    with pytest.raises(ModelError, match=r"image_size must be a side or \(height, width\) in pixels, got \(1, 2, 3\)"):
        build_network("cifar_resnet8", num_classes=3, image_size=(1, 2, 3))
