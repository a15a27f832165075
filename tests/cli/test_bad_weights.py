"""Files of weights that are none, or not the right ones: what each is said to be, and what to do about it."""

from __future__ import annotations

import gzip
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from dropkd.models import create_model, hub

Cli = Callable[..., tuple[int, str, str]]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; agree</title></head><body></body></html>"


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return create_model("cifar_resnet8", num_classes=3).state_dict()


@pytest.fixture
def refuse(cli: Cli, photos: Path) -> Callable[..., str]:
    """Run a distillation whose teacher's weights must be refused; return what it says."""

    def run(source: str) -> str:
        before = sorted(Path().rglob("*"))
        code, _, said = cli("distill", photos, "-t", source, "--student", "cifar_resnet8", "--output", "run")
        assert code == 2, said
        assert sorted(Path().rglob("*")) == before
        assert said.startswith("error: ")
        return said

    return run


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def torch_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    torch.save(weights, "whole.pth")
    return Path("whole.pth").read_bytes()


def safe_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    save_file(weights, "whole.safetensors")
    return Path("whole.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pth", b"", "It is empty: nothing was fetched."),
        ("x.safetensors", b"", "It is empty: nothing was fetched."),
        ("x.pth", POINTER, "It is git-lfs's pointer to a file of 12,345 bytes, not that file. Run `git lfs pull`"),
        ("x.safetensors", POINTER, "It is git-lfs's pointer to a file of 12,345 bytes"),
        ("x.pth", PAGE, "It is a web page ('Sign in & agree'), not weights"),
        ("x.safetensors", PAGE, "It is a web page ('Sign in & agree'), not weights"),
        ("x.pth", b'{"message": "Not Found"}', 'It is text, not weights; it begins \'{"message": "Not Found"}\'.'),
    ],
)
def test_what_a_server_gave_in_place_of_weights(
    name: str, content: bytes, message: str, refuse: Callable[..., str]
) -> None:
    Path(name).write_bytes(content)
    said = refuse(f"cifar_resnet8:{name}")
    assert f"'{name}' is damaged or no {'torch' if name.endswith('pth') else 'safetensors'} file. " in said
    assert message in said


def test_half_a_torch_file(refuse: Callable[..., str], weights: dict[str, torch.Tensor]) -> None:
    Path("x.pth").write_bytes(half := cut(torch_bytes(weights)))
    said = refuse("cifar_resnet8:x.pth")
    assert f"'x.pth' is damaged or no torch file. It ends too soon, after {len(half):,} bytes" in said
    assert "its download or copy did not finish. Get it again, and compare its size and SHA-256" in said


@pytest.mark.parametrize("kept", [3, 200, 0.5, -1])
def test_half_a_safetensors_file(kept: float, refuse: Callable[..., str], weights: dict[str, torch.Tensor]) -> None:
    whole = safe_bytes(weights)
    half = whole[: int(len(whole) * kept) if isinstance(kept, float) else kept]
    Path("x.safetensors").write_bytes(half)
    said = refuse("cifar_resnet8:x.safetensors")
    of = f" of {len(whole):,}" if len(half) > len(whole) // 3 else ""
    assert f"It ends too soon, after {len(half):,}{of} bytes: its download or copy did not finish." in said


def test_a_file_that_is_still_being_fetched(refuse: Callable[..., str], weights: dict[str, torch.Tensor]) -> None:
    Path("4d7a.incomplete").write_bytes(safe_bytes(weights)[:1000])
    said = refuse("cifar_resnet8:4d7a.incomplete")
    assert "Its name is that of a download that did not finish, after 1,000 bytes. Fetch it again." in said
    Path("x.pth.crdownload").write_bytes(b"PK")
    assert "But 'x.pth.crdownload' is there: its download did not finish." in refuse("cifar_resnet8:x.pth")


def test_packed_weights_are_to_be_unpacked(refuse: Callable[..., str], weights: dict[str, torch.Tensor]) -> None:
    whole = torch_bytes(weights)
    Path("x.pth").write_bytes(gzip.compress(whole))
    assert "It is packed: unpack it by `gzip -d` first." in refuse("cifar_resnet8:x.pth")
    member = "cifar_teachers/resnet8_vanilla/ckpt_epoch_240.pth"
    with tarfile.open("cifar_teachers.tar", "w") as archive:
        archive.add("whole.pth", member)
    said = refuse("cifar_resnet8:cifar_teachers.tar")
    assert f"It is an archive of '{member}': unpack it first, and give a file of weights out of it." in said
    with tarfile.open("teachers.tgz", "w:gz") as archive:
        archive.add("whole.pth", member)
    assert "There is a tar archive in it, which `tar -xf` unpacks." in refuse("cifar_resnet8:teachers.tgz")
    with zipfile.ZipFile("teachers.zip", "w") as zipped:
        zipped.write("whole.pth", member)
    assert f"It is an archive of '{member}'" in refuse("cifar_resnet8:teachers.zip")
    np.savez("x.npz", **{key: value.numpy() for key, value in weights.items()})
    assert "It holds arrays of numpy." in refuse("cifar_resnet8:x.npz")


def test_a_file_of_another_kind_than_its_name_says(
    cli: Cli, photos: Path, refuse: Callable[..., str], weights: dict[str, torch.Tensor], teacher_run: Path
) -> None:
    Path("x.safetensors").write_bytes(torch_bytes(weights))
    assert "It is a file of torch: rename it to end in .pth." in refuse("cifar_resnet8:x.safetensors")
    save_file(load_file(teacher_run / "student.safetensors"), "teacher.bin")
    code, _, said = cli("distill", photos, "-t", "cifar_resnet8:teacher.bin", "--student", "cifar_resnet8", "--dry-run")
    assert code == 0, said


def test_a_folder_or_another_name_in_place_of_a_file(
    refuse: Callable[..., str], weights: dict[str, torch.Tensor]
) -> None:
    Path("weights").mkdir()
    save_file(weights, "weights/model.safetensors")
    said = refuse("cifar_resnet8:weights")
    assert "'weights' is a folder, and a file of weights is wanted. It holds 'model.safetensors': give that." in said
    said = refuse("cifar_resnet8:weights/modle.safetensors")
    assert "There is no file of weights 'weights/modle.safetensors'. Did you mean 'weights/model.safetensors'?" in said
    assert "There is no folder 'wieghts' either." in refuse("cifar_resnet8:wieghts/model.safetensors")


def test_a_missing_and_an_extra_key_are_named_with_the_nearest(
    refuse: Callable[..., str], weights: dict[str, torch.Tensor]
) -> None:
    torch.save({key: value for key, value in weights.items() if key != "layer1.0.conv1.weight"}, "x.pth")
    said = refuse("cifar_resnet8:x.pth")
    assert (
        "'x.pth' does not fit 'cifar_resnet8':\n1 missing from the file:\n  layer1.0.conv1.weight (16, 16, 3, 3)"
        in said
    )
    torch.save({**weights, "projector.weight": torch.zeros(3, 3)}, "x.pth")
    said = refuse("cifar_resnet8:x.pth")
    assert "1 in the file, not in the model:\n  projector.weight (3, 3)\n" in said
    renamed = {key.replace("1.0.conv1", "1.0.convolution1"): value for key, value in weights.items()}
    torch.save(renamed, "x.pth")
    said = refuse("cifar_resnet8:x.pth")
    assert "  layer1.0.convolution1.weight (16, 16, 3, 3). Did you mean 'layer1.0.conv1.weight'?" in said


def test_the_weights_of_another_network_are_called_by_its_name(refuse: Callable[..., str]) -> None:
    torch.save({"model": create_model("cifar_resnet14", num_classes=3).state_dict(), "epoch": 240}, "x.pth")
    said = refuse("cifar_resnet8:x.pth")
    assert "36 in the file, not in the model" in said
    assert said.splitlines()[-1].endswith("These are the weights of 'cifar_resnet14': 'cifar_resnet14:x.pth'.")


def test_a_whole_checkpoint_of_a_training_is_read_under_whatever_name_its_weights_have(
    cli: Cli, photos: Path, teacher_run: Path, refuse: Callable[..., str], weights: dict[str, torch.Tensor]
) -> None:
    state = load_file(teacher_run / "student.safetensors")
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"network": state, "optimizer": optimizer, "epoch": 240, "best_acc": 0.9}, "x.pth")
    code, _, said = cli("distill", photos, "-t", "cifar_resnet8:x.pth", "--student", "cifar_resnet8", "--dry-run")
    assert code == 0, said
    torch.save({"generator": weights, "critic": weights}, "x.pth")
    said = refuse("cifar_resnet8:x.pth")
    assert "'x.pth' holds tensors under 'generator', 'critic', of which none is known to be the weights." in said


# The hub and its cache


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut the network off and return the hub's cache, an empty folder."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no route to host")

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


def repository_of(cache: Path, name: str) -> Path:
    return cache / f"models--{timm.models.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"


def test_without_a_network_it_is_told_what_was_tried_and_where_the_file_goes(
    cache: Path, refuse: Callable[..., str]
) -> None:
    said = refuse("resnet18")
    assert f"could not be had: looked in the cache {cache}, then asked the Hugging Face repository" in said
    assert (
        "fetch https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors on another machine" in said
    )
    assert "'resnet18:PATH/model.safetensors' where it teaches" in said
    assert "--set student.checkpoint=PATH/model.safetensors where it is trained" in said


def test_a_download_into_the_cache_that_was_cut_off_is_told(cache: Path, refuse: Callable[..., str]) -> None:
    blobs = repository_of(cache, "resnet18") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "4d7a.incomplete").write_bytes(bytes(1500))
    said = refuse("resnet18")
    assert f"A download of it was cut off after 1,500 bytes ({blobs / '4d7a.incomplete'}); it is taken up again" in said


def test_a_damaged_file_in_the_cache_is_to_be_deleted(
    cache: Path, refuse: Callable[..., str], weights: dict[str, torch.Tensor]
) -> None:
    stored = repository_of(cache, "resnet18")
    for folder in ("blobs", "refs", "snapshots/abc"):
        (stored / folder).mkdir(parents=True)
    (stored / "refs" / "main").write_text("abc")
    save_file(weights, stored / "blobs" / "4d7a")
    (stored / "blobs" / "4d7a").write_bytes(cut((stored / "blobs" / "4d7a").read_bytes()))
    (stored / "snapshots" / "abc" / "model.safetensors").symlink_to("../../blobs/4d7a")
    said = refuse("resnet18")
    assert f"lie in '{stored / 'blobs' / '4d7a'}', which is damaged. It ends too soon" in said
    assert "Delete it to have it fetched again." in said


def test_a_damaged_file_of_torchvision_is_to_be_deleted(
    refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home))
    file = home / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir()
    file.write_bytes(PAGE)
    said = refuse("torchvision/resnet18")
    assert f"lie in '{file}', which is damaged. It is a web page" in said
