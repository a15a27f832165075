"""Maps before their last activation, and the batch norm there, as hooks set by hand see them."""

from __future__ import annotations

import copy
from collections import defaultdict

import pytest
import torch
from timm.layers import activations as timm_activations
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models import Network, build_network, wrap_model

# name: for each map the activation that gives it, which of its turns in a pass that is, and the batch norm before it.
Row = tuple[str, int, str | None] | None
NO_ACTIVATION: list[Row] = [None] * 4
MODELS: dict[str, list[Row]] = {
    "cifar_resnet20": [(f"layer{i}.2.relu", 1, f"layer{i}.2.bn2") for i in (1, 2, 3)],
    # Its stages have one block, so that the shortcut's norm competes with the block's own.
    "cifar_resnet8": [(f"layer{i}.0.relu", 1, f"layer{i}.0.bn2") for i in (1, 2, 3)],
    "resnet18": [(f"layer{i}.1.act2", 0, f"layer{i}.1.bn2") for i in (1, 2, 3, 4)],
    "resnet50": [(f"layer{i}.{n}.act3", 0, f"layer{i}.{n}.bn3") for i, n in ((1, 2), (2, 3), (3, 5), (4, 2))],
    # Gates between the norm and the activation change the norm's scale.
    "seresnet18": [(f"layer{i}.1.act2", 0, None) for i in (1, 2, 3, 4)],
    "regnetx_002": [(f"s{i}.b{n}.act3", 0, f"s{i}.b{n}.conv3.bn") for i, n in ((1, 1), (2, 1), (3, 4), (4, 7))],
    "mobilenetv2_100": [None] * 5,
    "mobilenetv3_small_050": [None, None, None, ("blocks.5.0.bn1.act", 0, "blocks.5.0.bn1")],
    "densenet121": [None, None, None, ("features.norm5.act", 0, "features.norm5")],
    "resnetv2_18": NO_ACTIVATION,
    "convnext_atto": NO_ACTIVATION,
    "deit_tiny_patch16_224": NO_ACTIVATION,
    "cct_2_3x2": [None] * 2,
    "torchvision/resnet18": [(f"layer{i}.1.relu", 1, f"layer{i}.1.bn2") for i in (1, 2, 3, 4)],
    "torchvision/regnet_y_400mf": [
        (f"trunk_output.block{i}.block{i}-{n}.activation", 0, f"trunk_output.block{i}.block{i}-{n}.f.c.1")
        for i, n in ((1, 0), (2, 2), (3, 5), (4, 5))
    ],
    # Its last map is pooled.
    "torchvision/vgg11_bn": [*((f"features.{i}", 0, f"features.{i - 1}") for i in (2, 6, 13, 20, 27)), None],
    "torchvision/densenet121": NO_ACTIVATION,
}


def _build(name: str) -> Network:
    torch.manual_seed(0)
    network = build_network(name, num_classes=5, image_size=32 if name.startswith(("cifar", "cct")) else 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Norms often start at weight 1, or 0, and bias 0 everywhere.
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network


def _hook_inputs(network: Network, names: set[str], images: Tensor) -> dict[str, list[Tensor]]:
    """Return what each module was given in a plain call, turn by turn."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    for name in names:
        module = network.model.get_submodule(name)
        module.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0].clone()))
    with torch.no_grad():
        network.model(network.preprocessing(images, crop=True))
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_maps_before_activation_equal_hooks_set_by_hand(name: str) -> None:
    network = _build(name).eval()
    rows, images = MODELS[name], torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain, answer = network(images), network(images, preactivations=True)
    seen = _hook_inputs(network, {row[0] for row in rows if row}, images)
    assert plain.preactivations == ()
    assert torch.equal(answer.logits, plain.logits)
    assert torch.equal(answer.embedding, plain.embedding)
    for row, feature_map, before, unread in zip(rows, answer.maps, answer.preactivations, plain.maps, strict=True):
        assert torch.equal(feature_map, unread)
        if row is None:
            assert before is feature_map
            continue
        activation, turn, _ = row
        assert torch.equal(before, seen[activation][turn])
        assert (before < 0).any()
        # A copy, as some activations write over what they are given.
        assert torch.equal(network.model.get_submodule(activation)(before.clone()), feature_map)


@pytest.mark.parametrize("name", MODELS)
def test_norms_are_those_right_before_the_activations(name: str) -> None:
    network = _build(name)
    for row, found in zip(MODELS[name], network.norms, strict=True):
        if row is None or row[2] is None:
            assert found is None
            continue
        norm = network.model.get_submodule(row[2])
        assert found is not None
        assert torch.equal(found[0], norm.weight)
        assert torch.equal(found[1], norm.bias)
        assert not found[0].requires_grad
        assert not found[1].requires_grad


@pytest.mark.parametrize("name", ["cifar_resnet8", "resnet18", "torchvision/resnet18", "regnetx_002"])
def test_gradients_flow_through_the_maps_before_activation(name: str) -> None:
    network = _build(name).train()
    answer = network(torch.rand(4, 3, 64, 64), preactivations=True)
    # Half of it is below zero, where the map's own gradient ends.
    answer.preactivations[-1].sum().backward()
    norm = network.model.get_submodule(MODELS[name][-1][2])
    sides = network.shapes.maps[-1][1:]
    torch.testing.assert_close(norm.bias.grad, torch.full_like(norm.bias, 4.0 * sides[0] * sides[1]))
    first = next(network.model.parameters())
    assert first.grad is not None
    assert first.grad.any()


@pytest.mark.parametrize("name", ["cifar_resnet8", "resnet18", "torchvision/vgg11_bn"])
def test_reading_them_changes_neither_the_model_nor_its_step(name: str) -> None:
    network = _build(name).train()
    twin, images = copy.deepcopy(network), torch.rand(4, 3, 64, 64)
    torch.manual_seed(0)
    answer = network(images, preactivations=True)
    torch.manual_seed(0)
    expected = twin(images)
    (answer.logits.square().sum() + answer.maps[-1].sum()).backward()
    (expected.logits.square().sum() + expected.maps[-1].sum()).backward()
    for key, value in twin.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_they_come_without_the_maps_too() -> None:
    network = _build("cifar_resnet8").eval()
    answer = network(torch.rand(1, 3, 32, 32), maps=False, preactivations=True)
    assert answer.maps == ()
    assert [tuple(m.shape[1:]) for m in answer.preactivations] == list(network.shapes.maps)


def test_norms_follow_training() -> None:
    network = _build("cifar_resnet8")
    norm = network.model.layer3[0].bn2
    with torch.no_grad():
        norm.weight.add_(1)
    assert torch.equal(network.norms[-1][0], norm.weight)


def test_a_compiled_network_gives_them_too() -> None:
    network = _build("resnet18").eval()
    compiled = torch.compile(network, backend="eager")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        answer, expected = compiled(images, preactivations=True), network(images, preactivations=True)
    for one, other in zip(answer.preactivations, expected.preactivations, strict=True):
        assert torch.equal(one, other)
    torch._dynamo.reset()


class _Net(nn.Module):
    """One convolution with its norm, then what a test gives it."""

    def __init__(self, ending: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.ending = ending
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.ending(self.norm(self.conv(x)))).flatten(1))


def _wrap(ending: nn.Module, name: str = "ending") -> Network:
    torch.manual_seed(0)
    return wrap_model(_Net(ending), image_size=8, map_modules=[name]).eval()


class _Calls(nn.Module):
    """Calls a function that may use a ReLU of its own."""

    def __init__(self, call: object, *, inplace: bool = False) -> None:
        super().__init__()
        self.call = call
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.act, x)


class _Squared(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.SiLU(inplace=True),
        nn.PReLU(8),
        nn.GELU(),
        timm_activations.Swish(inplace=True),
        timm_activations.QuickGELU(),
        _Squared(),
    ],
)
def test_activations_of_torch_and_timm_and_their_subclasses_are_known(activation: nn.Module) -> None:
    network = _wrap(activation)
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        answer = network(images, preactivations=True)
        expected = network.model.norm(network.model.conv(network.preprocessing(images, crop=True)))
    assert torch.equal(answer.preactivations[0], expected)
    assert torch.equal(network.norms[0][0], network.model.norm.weight)


@pytest.mark.parametrize(
    "ending",
    [
        nn.Softmax2d(),
        _Calls(lambda act, x: act(x) * 2),
        _Calls(lambda act, x: act(x).add_(x)),
        _Calls(lambda act, x: torch.relu(act(x) - 1)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=1, padding=1)),
        nn.Sequential(nn.Conv2d(8, 16, 1), nn.GLU(dim=1)),
    ],
    ids=["no function of one value", "scaled", "added to in place", "a function", "pooled", "gated halves"],
)
def test_map_that_is_no_activations_output_stands_for_itself(ending: nn.Module) -> None:
    network = _wrap(ending)
    answer = network(torch.rand(2, 3, 8, 8), preactivations=True)
    assert answer.preactivations[0] is answer.maps[0]
    assert network.norms == (None,)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_right_turn_of_an_activation_that_is_called_often_is_read(inplace: bool) -> None:
    network = _wrap(_Calls(lambda act, x: act(act(act(x) - 1) - 1), inplace=inplace))
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        x = network.model.norm(network.model.conv(network.preprocessing(images, crop=True)))
        expected = (x.relu() - 1).relu() - 1
        assert torch.equal(network(images, preactivations=True).preactivations[0], expected)
    # The norm was before the first turn, not before this one.
    assert network.norms == (None,)


class _Branches(nn.Module):
    """A convolution and another branch, added up by a function, then a ReLU."""

    def __init__(self, add: object, norm: nn.Module) -> None:
        super().__init__()
        self.add = add
        self.conv = nn.Conv2d(8, 8, 1)
        self.norm = norm
        self.main = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.beside = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.shortcut = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.add(self, x))


@pytest.mark.parametrize(
    ("add", "norm", "chosen"),
    [
        (lambda m, x: m.norm(m.conv(x)) + m.beside(x), nn.BatchNorm2d(8), "norm"),
        (lambda m, x: m.main(x).add_(m.beside(x)), nn.Identity(), "main.1"),
        (lambda m, x: m.beside(m.main(x)) + m.shortcut(x), nn.Identity(), "beside.1"),
        (lambda m, x: m.conv(x) + m.shortcut(x), nn.Identity(), None),
        (lambda m, x: m.norm(m.conv(x)) + x, nn.BatchNorm2d(8, affine=False), None),
        (lambda m, x: m.conv(x)[:, :4].repeat(1, 2, 1, 1) + m.norm(x[:, :4]).sum(), nn.BatchNorm2d(4), None),
    ],
    ids=["the block's own", "the one added to", "not the shortcut's", "none", "no weights", "other width"],
)
def test_of_several_norms_before_an_activation_that_of_the_block_is_chosen(
    add: object, norm: nn.Module, chosen: str | None
) -> None:
    model = _Net(_Branches(add, norm))
    model.norm = nn.Identity()
    for number, module in enumerate(model.modules()):
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.constant_(module.bias, number)
    (found,) = wrap_model(model, image_size=8, map_modules=["ending"]).norms
    if chosen is None:
        assert found is None
    else:
        assert found is not None
        assert torch.equal(found[1], model.ending.get_submodule(chosen).bias)


def test_another_way_through_the_model_than_at_first_is_told() -> None:
    network = _wrap(_Calls(lambda act, x: x if act.training else act(x)))
    network.train()
    assert len(network(torch.rand(2, 3, 8, 8)).maps) == 1
    with pytest.raises(ModelError, match=r"activation 'ending.act' was not called as often as in the network's first"):
        network(torch.rand(2, 3, 8, 8), preactivations=True)
