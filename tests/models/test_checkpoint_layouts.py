"""Files of weights in the layouts in which training scripts of the field write them."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models import create_model, load_weights, open_teacher

State = dict[str, Tensor]
# One of each kind of the CIFAR networks.
NAMES = [
    "cifar_resnet8x4",
    "cifar_wrn_16_1",
    "cifar_vgg8",
    "cifar_mobilenetv2",
    "cifar_shufflenetv1",
    "cifar_shufflenetv2",
    "cifar_resnet18",
]


def _with_prefix(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def _with_optimizer(state: State) -> dict[str, Any]:
    """What a teacher's training script writes each epoch, with momentum in the optimiser."""
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.05, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    return {"epoch": 240, "model": state, "accuracy": torch.tensor(72.34), "optimizer": optimizer.state_dict()}


def _in_a_distiller(state: State) -> dict[str, Any]:
    """What a distiller's trainer writes: the student beside its teacher and the projectors, inside DataParallel."""
    teacher = {key: torch.zeros_like(value) for key, value in state.items()}
    held = {**_with_prefix("student.", state), **_with_prefix("teacher.", teacher), "conv_reg.weight": torch.ones(3)}
    return {"epoch": 3, "model": _with_prefix("module.", held), "optimizer": {"state": {}}, "best_acc": 71.2}


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "bare, ordered": lambda state: OrderedDict(state),
    "bare with numbers": lambda state: {**state, "epoch": 3, "best_acc": torch.tensor(71.2), "lr": np.float64(0.1)},
    "model": _with_optimizer,
    "model with options": lambda state: {"opt": argparse.Namespace(lr=0.1, model="x"), "model": state},
    "state_dict": lambda state: {"state_dict": state, "best_acc": torch.tensor(71.2), "arch": "x"},
    "net": lambda state: {"net": state, "acc": 71.2, "epoch": 199},
    "module.": lambda state: _with_prefix("module.", state),
    "module. with numbers": lambda state: {**_with_prefix("module.", state), "best_acc": torch.tensor(71.2)},
    "module. in state_dict": lambda state: {"state_dict": _with_prefix("module.", state)},
    "module. in model": lambda state: {"model": _with_prefix("module.", state), "epoch": 1},
    "distiller without a teacher": lambda state: {"model": _with_prefix("module.student.", state)},
    "distiller": _in_a_distiller,
}


def _make_state(name: str) -> State:
    """Return weights, statistics and counters that no fresh model has."""
    torch.manual_seed(1)
    state = create_model(name, num_classes=6).state_dict()
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            value.fill_(3)
        elif value.ndim == 1:
            value.add_(torch.rand_like(value), alpha=0.1)
    return state


def _assert_holds(model: nn.Module, state: State) -> None:
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(loaded[key], value), key


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads_key_by_key(layout: str, legacy: bool, tmp_path: Path) -> None:
    state = _make_state("cifar_wrn_16_1")
    torch.save(LAYOUTS[layout](state), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    _assert_holds(create_model("cifar_wrn_16_1", num_classes=6, checkpoint=tmp_path / "a.pth"), state)


@pytest.mark.parametrize("name", NAMES)
def test_archive_of_each_kind_of_cifar_network_makes_a_teacher(name: str, tmp_path: Path) -> None:
    state = _make_state(name)
    torch.save(_with_optimizer(state), tmp_path / "ckpt_epoch_240.pth")
    teacher = open_teacher(f"{name}:{tmp_path / 'ckpt_epoch_240.pth'}")
    _assert_holds(teacher.model, state)
    assert teacher.shapes.logits == 6
    assert not teacher.training
    model = create_model(name, num_classes=6, checkpoint=tmp_path / "ckpt_epoch_240.pth").eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(teacher.preprocessing(images, crop=True)), teacher.logits(images))


def test_half_precision_is_widened(tmp_path: Path) -> None:
    state = _make_state("cifar_resnet8x4")
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "half.pth")
    model = create_model("cifar_resnet8x4", num_classes=6, checkpoint=tmp_path / "half.pth")
    assert torch.equal(model.fc.weight, state["fc.weight"].half().float())


def test_misspelt_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    state = _make_state("cifar_wrn_16_1")
    state["block2.layer.0.conv_shortcut.weight"] = state.pop("block2.layer.0.convShortcut.weight")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError) as raised:
        create_model("cifar_wrn_16_1", num_classes=6, checkpoint=tmp_path / "a.pth")
    assert str(raised.value).endswith(
        "a.pth' does not fit 'cifar_wrn_16_1':\n"
        "1 missing from the file:\n"
        "  block2.layer.0.convShortcut.weight (32, 16, 1, 1)\n"
        "1 in the file, not in the model:\n"
        "  block2.layer.0.conv_shortcut.weight (32, 16, 1, 1). Did you mean 'block2.layer.0.convShortcut.weight'?"
    )


def test_key_of_another_shape_is_not_suggested(tmp_path: Path) -> None:
    state = _make_state("cifar_wrn_16_1")
    state["fc.weights"] = state.pop("fc.weight")[:, :3]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"fc.weights \(6, 3\)$"):
        create_model("cifar_wrn_16_1", num_classes=6, checkpoint=tmp_path / "a.pth")


@pytest.mark.parametrize("change", ["missing", "extra", "extra in a stage"])
def test_one_key_too_few_or_too_many_is_named(change: str, tmp_path: Path) -> None:
    state = _make_state("cifar_vgg8")
    if change == "missing":
        del state["block3.1.running_var"]
        expected = r"1 missing from the file:\n  block3.1.running_var \(512,\)$"
    else:
        key = "scale" if change == "extra" else "block3.1.scale"
        state[key] = torch.ones(1) if change == "extra" else torch.tensor(1.0)
        expected = rf"1 in the file, not in the model:\n  {key} \(1?,?\)$"
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=expected):
        create_model("cifar_vgg8", num_classes=6, checkpoint=tmp_path / "a.pth")


def test_scalar_weight_of_the_model_is_no_number_beside_the_weights(tmp_path: Path) -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.scale = nn.Parameter(torch.tensor(1.0))

    source = Scaled()
    nn.init.constant_(source.scale, 5.0)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = Scaled()
    load_weights(model, tmp_path / "a.pth")
    assert float(model.scale.detach()) == 5.0


def test_teacher_of_a_distiller_is_not_taken_for_the_student(tmp_path: Path) -> None:
    state = _make_state("cifar_wrn_16_1")
    torch.save(_with_prefix("teacher.", state), tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"in the file, not in the model:\n  teacher.block1"):
        create_model("cifar_wrn_16_1", num_classes=6, checkpoint=tmp_path / "a.pth")


def test_archive_of_another_depth_is_refused(tmp_path: Path) -> None:
    torch.save({"model": _make_state("cifar_wrn_16_1")}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"'cifar_wrn_40_1':\n\d+ missing from the file:\n  block1.layer.2"):
        create_model("cifar_wrn_40_1", num_classes=6, checkpoint=tmp_path / "a.pth")
