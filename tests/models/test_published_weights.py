"""Published weights, with and without a network; no test asks the network for anything."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from dropkd.errors import ModelError
from dropkd.models import build_network, hub, open_teacher


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise OSError("no route to host")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Cut the hub off and return its cache, an empty folder."""
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_without_a_network_it_is_told_what_was_tried_and_what_can_be_done(offline: Path) -> None:
    with pytest.raises(ModelError) as raised:
        build_network("vit_base_patch16_224", num_classes=7, pretrained=True)
    text = str(raised.value)
    assert "published weights of 'vit_base_patch16_224' could not be had" in text
    assert str(offline) in text
    assert "'timm/vit_base_patch16_224.augreg2_in21k_ft_in1k'" in text
    assert "'vit_base_patch16_224:PATH/model.safetensors'" in text
    assert "--no-pretrained" in text


def test_a_teacher_by_name_alone_wants_its_published_weights(offline: Path) -> None:
    with pytest.raises(ModelError, match="published weights of 'resnet18' could not be had"):
        open_teacher("resnet18")


def test_error_of_the_hub_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropkd.models.timm_library.is_reachable", lambda: True)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", _refuse)
    with pytest.raises(ModelError, match=r"asked the Hugging Face repository .*\(OSError: no route to host\)"):
        build_network("resnet18", num_classes=7, pretrained=True)


def _fill_cache(folder: Path, name: str, **options: Any) -> dict[str, torch.Tensor]:
    """Put weights where the hub's client would have put them."""
    repository = timm.models.get_pretrained_cfg(name).hf_hub_id
    stored = folder / f"models--{repository.replace('/', '--')}"
    snapshot = stored / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("abc")
    weights = timm.create_model(name, **options).state_dict()
    save_file(weights, snapshot / "model.safetensors")
    return weights


def test_what_was_fetched_before_is_used_without_a_network(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _fill_cache(offline, "mobilenetv3_small_050")
    found = offline / "models--timm--mobilenetv3_small_050.lamb_in1k" / "snapshots" / "abc" / "model.safetensors"
    monkeypatch.setattr("dropkd.models.timm_library.find_cached", lambda repository, name: found)
    teacher = open_teacher("mobilenetv3_small_050")
    assert teacher.shapes.logits == 1000
    assert torch.equal(teacher.model.conv_stem.weight, weights["conv_stem.weight"])
    assert teacher.spec.crop_fraction == 0.875
    student = build_network("mobilenetv3_small_050", num_classes=7, pretrained=True)
    assert student.shapes.logits == 7
    assert torch.equal(student.model.conv_stem.weight, weights["conv_stem.weight"])


def test_cached_file_is_found_by_its_repository(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill_cache(offline, "mobilenetv3_small_050")
    seen: list[str] = []

    def look(repository: str, name: str) -> str | None:
        seen.append(name)
        return "/cache/pytorch_model.bin" if name == "pytorch_model.bin" else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", look)
    assert hub.find_cached("timm/x") == Path("/cache/pytorch_model.bin")
    assert seen == ["model.safetensors", "pytorch_model.bin"]


def test_published_file_given_as_a_checkpoint_works_without_a_network(offline: Path, tmp_path: Path) -> None:
    save_file(timm.create_model("vit_tiny_patch16_224", depth=1).state_dict(), tmp_path / "model.safetensors")
    network = build_network(
        "vit_tiny_patch16_224",
        num_classes=7,
        image_size=32,
        checkpoint=tmp_path / "model.safetensors",
        options={"depth": 1},
    )
    assert network.shapes.logits == 7
    assert network.shapes.maps == ((192, 2, 2),)


def test_random_weights_need_no_network(offline: Path) -> None:
    assert build_network("resnet18", num_classes=7, image_size=32).shapes.logits == 7


@pytest.mark.parametrize("name", ["cifar_resnet8", "seresnet18"])
def test_model_without_published_weights_says_so(name: str) -> None:
    with pytest.raises(ModelError, match=rf"published weights.*--no-pretrained.*'{name}:CHECKPOINT'"):
        build_network(name, num_classes=7, pretrained=True)


def test_torchvision_without_a_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)
    with pytest.raises(ModelError, match=re.escape("'torchvision/resnet18:PATH'")) as raised:
        build_network("torchvision/resnet18", num_classes=7, pretrained=True)
    assert "https://download.pytorch.org/models/resnet18" in str(raised.value)
    assert "--no-pretrained" in str(raised.value)


@pytest.mark.parametrize(("name", "size"), [("torchvision/resnet18", None), ("vit_b_32", 64), ("googlenet", None)])
def test_torchvision_weights_fill_all_but_a_new_classifier(
    name: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = torchvision.models.get_model(
        name.removeprefix("torchvision/"), **({"init_weights": False} if name == "googlenet" else {})
    ).state_dict()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *a, **k: dict(published))
    network = build_network(name, num_classes=7, image_size=size, pretrained=True)
    own = network.model.state_dict()
    same = [key for key in own if own[key].shape == published[key].shape]
    assert all(torch.equal(own[key], published[key]) for key in same)
    assert network.shapes.logits == 7
    assert len(own) - len(same) == (3 if size else 2)
    assert network.spec.crop_fraction == (1.0 if size else 224 / 256)


def test_a_file_in_the_cache_that_was_cut_off_is_named(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill_cache(offline, "mobilenetv3_small_050")
    found = offline / "models--timm--mobilenetv3_small_050.lamb_in1k" / "snapshots" / "abc" / "model.safetensors"
    found.write_bytes(found.read_bytes()[:1000])
    monkeypatch.setattr("dropkd.models.timm_library.find_cached", lambda repository, name: found)
    with pytest.raises(ModelError) as raised:
        open_teacher("mobilenetv3_small_050")
    assert str(found) in str(raised.value)
    assert "which is damaged" in str(raised.value)


def test_a_download_that_was_cut_off_is_told(offline: Path) -> None:
    blobs = offline / "models--timm--resnet18.a1_in1k" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "x.incomplete").write_bytes(b"123")
    with pytest.raises(ModelError, match=r"A download of it was cut off after 3 bytes \(.*x\.incomplete\)"):
        open_teacher("resnet18")


@pytest.mark.parametrize("content", [b"PK\x03\x04half", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00exit\x85R."])
def test_a_file_of_torchvision_that_is_damaged_is_named_and_no_pickle_is_run(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"resnet18-f37072fd\.pth"):
        open_teacher("torchvision/resnet18")
