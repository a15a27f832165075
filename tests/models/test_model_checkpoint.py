from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from dropkd.errors import ModelError, RunError
from dropkd.models import (
    build_network,
    create_model,
    load_weights,
    open_network,
    read_spec,
    save_network,
)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return create_model("cifar_resnet8", num_classes=3).state_dict()


def _assert_loads(path: Path, weights: dict[str, torch.Tensor]) -> None:
    model = create_model("cifar_resnet8", num_classes=3)
    load_weights(model, path)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_saved_file_is_read_by_timm_and_safetensors_alone(tmp_path: Path) -> None:
    options = {"patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
    for name, chosen in (("vit_tiny_patch16_224", options), ("resnet18", {}), ("mobilenetv3_small_100", {})):
        network = build_network(name, num_classes=3, image_size=32, options=chosen).eval()
        save_network(network, tmp_path / "student.safetensors")
        spec = network.spec
        plain = timm.create_model(spec.name, num_classes=spec.num_classes, **spec.options).eval()
        plain.load_state_dict(load_file(tmp_path / "student.safetensors"), strict=True)
        images = torch.rand(2, 3, 32, 32)
        assert torch.equal(plain(network.preprocessing(images, crop=True)), network.logits(images))


def test_saved_file_is_read_by_torchvision_and_safetensors_alone(tmp_path: Path) -> None:
    network = build_network("torchvision/resnet18", num_classes=3, image_size=32)
    save_network(network, tmp_path / "student.safetensors")
    plain = torchvision.models.resnet18(num_classes=3)
    plain.load_state_dict(load_file(tmp_path / "student.safetensors"), strict=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cifar_resnet8", None),
        ("cct_2_3x2", {"drop_path": 0.2}),
        ("vit_tiny_patch16_224", {"patch_size": 4, "depth": 2}),
        ("repvit_m1", None),
        ("vit_b_16", {"dropout": 0.1}),
        ("torchvision/mobilenet_v3_small", None),
    ],
)
def test_saved_network_is_opened_as_it_was(name: str, options: dict[str, Any] | None, tmp_path: Path) -> None:
    classes = ["cat", "dog", "owl"]
    network = build_network(name, num_classes=3, image_size=32, options=options, classes=classes).eval()
    save_network(network, tmp_path / "student.safetensors")
    opened = open_network(tmp_path / "student.safetensors")
    assert opened.spec == network.spec
    assert opened.spec.classes == ("cat", "dog", "owl")
    assert not opened.training
    images = torch.rand(2, 3, 40, 40)
    assert torch.equal(opened.logits(images), network.logits(images))


def test_file_carries_its_description_and_appears_whole(tmp_path: Path) -> None:
    network = build_network("cifar_resnet8", num_classes=3)
    save_network(network, tmp_path / "student.safetensors")
    assert os.listdir(tmp_path) == ["student.safetensors"]  # noqa: PTH208
    assert read_spec(tmp_path / "student.safetensors") == network.spec


def test_equal_networks_give_equal_files(tmp_path: Path) -> None:
    network = build_network("cifar_resnet8", num_classes=3, classes=["cat", "dog", "owl"])
    for name in ("one", "two", "three"):
        save_network(network, tmp_path / f"{name}.safetensors")
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


def test_channels_last_and_shared_tensors_are_written(tmp_path: Path) -> None:
    network = build_network("cifar_resnet8", num_classes=3).to(memory_format=torch.channels_last)
    network.model.layer1[0].bn2.weight = network.model.layer1[0].bn1.weight
    save_network(network, tmp_path / "student.safetensors")
    read = load_file(tmp_path / "student.safetensors")
    assert torch.equal(read["conv1.weight"], network.model.conv1.weight)
    assert torch.equal(read["layer1.0.bn2.weight"], read["layer1.0.bn1.weight"])


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="its folder is not there"):
        save_network(build_network("cifar_resnet8", num_classes=3), tmp_path / "no" / "student.safetensors")


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod."])
def test_weights_are_found_in_the_usual_containers(
    wrap: str | None, prefix: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    content: dict[str, Any] = {prefix + key: value for key, value in weights.items()}
    if wrap is not None:
        content = {wrap: content, "epoch": 7, "optimizer": {"state": {}, "lr": 0.1}, "opt": argparse.Namespace(lr=0.1)}
        content["best_acc"] = np.float64(0.7)
    torch.save(content, tmp_path / "checkpoint.pth")
    _assert_loads(tmp_path / "checkpoint.pth", weights)


def test_scalars_beside_bare_weights_are_passed_over(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({**weights, "epoch": 3}, tmp_path / "checkpoint.pth")
    _assert_loads(tmp_path / "checkpoint.pth", weights)


def test_averaged_weights_are_preferred(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    zeros = {key: torch.zeros_like(value) for key, value in weights.items()}
    torch.save({"state_dict": zeros, "state_dict_ema": weights}, tmp_path / "checkpoint.pth")
    _assert_loads(tmp_path / "checkpoint.pth", weights)


def test_safetensors_of_others_are_read(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file({f"module.{key}": value for key, value in weights.items()}, tmp_path / "weights.safetensors")
    _assert_loads(tmp_path / "weights.safetensors", weights)
    assert read_spec(tmp_path / "weights.safetensors") is None


def test_archive_of_a_cifar_teacher_is_read(tmp_path: Path) -> None:
    """Such archives hold {"model": weights} and, in the older ones, no counters of batch normalisation."""
    weights = create_model("cifar_resnet32x4", num_classes=100).state_dict()
    old = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    torch.save({"epoch": 240, "model": old, "best_acc": torch.tensor(79.42)}, tmp_path / "ckpt_epoch_240.pth")
    model = create_model("cifar_resnet32x4", checkpoint=tmp_path / "ckpt_epoch_240.pth")
    assert torch.equal(model.layer3[4].conv2.weight, weights["layer3.4.conv2.weight"])
    assert torch.equal(model.fc.bias, weights["fc.bias"])


def test_own_module_with_an_attribute_named_model_keeps_its_keys(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 2)

    holder = Holder()
    torch.save(holder.state_dict(), tmp_path / "weights.pth")
    load_weights(Holder(), tmp_path / "weights.pth")


def test_other_architecture_is_told_key_by_key_with_shapes(tmp_path: Path) -> None:
    save_network(build_network("cifar_resnet8x4", num_classes=3), tmp_path / "wide.safetensors")
    with pytest.raises(ModelError) as raised:
        load_weights(build_network("cifar_resnet14", num_classes=3), tmp_path / "wide.safetensors")
    text = str(raised.value)
    assert "wide.safetensors' does not fit the student (CifarResNet)" in text
    assert "missing from the file:\n  layer1.1.conv1.weight (16, 16, 3, 3)" in text
    assert "in the file, not in the model:\n  layer1.0.downsample.0.weight (64, 32, 1, 1)" in text
    assert "of another shape in the file:\n  conv1.weight (32, 3, 3, 3), expected (16, 3, 3, 3)" in text
    assert "fc.weight (3, 256), expected (3, 64)" in text


def test_file_that_dropkd_wrote_for_another_model_says_so(tmp_path: Path) -> None:
    save_network(build_network("cifar_resnet8", num_classes=3), tmp_path / "student.safetensors")
    with pytest.raises(
        ModelError, match=r"does not fit 'resnet18' \(dropkd wrote it for 'cifar_resnet8' with 3 classes\)"
    ):
        build_network("resnet18", num_classes=3, checkpoint=tmp_path / "student.safetensors")


def test_checkpoint_with_other_classes_leaves_a_fresh_classifier_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = build_network("repvit_m1", num_classes=3, image_size=32)
    save_network(source, tmp_path / "student.safetensors")
    network = build_network("repvit_m1", num_classes=5, checkpoint=tmp_path / "student.safetensors")
    assert network.shapes.logits == 5
    assert torch.equal(network.model.stem.conv1.c.weight, source.model.stem.conv1.c.weight)
    assert "has another number of classes; head.head.l.weight and head.head.l.bias" in caplog.text


def test_created_model_wants_the_classifier_too(tmp_path: Path) -> None:
    save_network(build_network("cifar_resnet8", num_classes=3), tmp_path / "student.safetensors")
    with pytest.raises(ModelError, match=r"fc.weight \(3, 64\), expected \(5, 64\)"):
        create_model("cifar_resnet8", num_classes=5, checkpoint=tmp_path / "student.safetensors")
    assert create_model("cifar_resnet8", checkpoint=tmp_path / "student.safetensors").fc.out_features == 3


def test_vit_of_another_image_size_is_resampled(tmp_path: Path) -> None:
    options = {"patch_size": 4, "depth": 1}
    source = build_network("vit_tiny_patch16_224", num_classes=3, image_size=16, options=options)
    save_network(source, tmp_path / "teacher.safetensors")
    network = build_network(
        "vit_tiny_patch16_224", num_classes=3, image_size=32, checkpoint=tmp_path / "teacher.safetensors"
    )
    assert network.spec.options == {**options, "img_size": [32, 32]}
    assert network.model.pos_embed.shape == (1, 65, 192)
    assert torch.equal(network.model.cls_token, source.model.cls_token)


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.system, ("echo this must not run > /dev/null",))


@pytest.mark.parametrize("content", [_Payload(), {"state_dict": _Payload()}, nn.Linear(2, 2)])
def test_pickle_of_more_than_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(
        ModelError, match=r"evil.pth' is refused: it holds Python objects beside plain tensors"
    ) as raised:
        load_weights(nn.Linear(2, 2), tmp_path / "evil.pth")
    assert "torch.save(model.state_dict(), PATH)" in str(raised.value)


def test_bare_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(ModelError, match=r"refused|damaged"):
        load_weights(nn.Linear(2, 2), tmp_path / "evil.pkl")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_damaged_file_is_told(name: str, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    if name.endswith("pth"):
        torch.save(weights, tmp_path / name)
    else:
        save_file(weights, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=rf"{name}' is damaged or no (torch|safetensors) file"):
        load_weights(create_model("cifar_resnet8", num_classes=3), tmp_path / name)


def test_file_without_weights_is_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match=r"holds no weights: .*got the keys \['epoch', 'lr'\]"):
        load_weights(nn.Linear(2, 2), tmp_path / "empty.pth")


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file of weights '.*none\.pth'"):
        load_weights(nn.Linear(2, 2), tmp_path / "none.pth")


def test_weights_and_checkpoint_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exclude each other"):
        build_network("resnet18", num_classes=3, pretrained=True, checkpoint=tmp_path / "x.pth")
