"""Repositories of the hub: fetched once, read from the cache afterwards, and what is said where neither is possible."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from tiny_teachers import fill_cache

from dropkd.errors import ModelError
from dropkd.models import hub_files, open_teacher

Serve = Callable[[dict[str, Path]], list[str]]


@pytest.mark.parametrize("kind", ["vit", "timm"])
def test_a_repository_is_fetched_once_and_read_from_the_cache_when_offline(
    repositories: Path, serve_hub: Serve, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve_hub({"org/name": repositories / kind})
    online = open_teacher("hf:org/name")
    assert "model.safetensors" in asked
    assert "pytorch_model.bin" not in asked
    asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    offline = open_teacher("hf:org/name")
    assert asked == []
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(online.logits(images), offline.logits(images))
    assert online.spec == open_teacher(f"hf:{repositories / kind}").spec == offline.spec


def test_a_revision_is_asked_for_and_kept_apart(repositories: Path, offline: Path) -> None:
    fill_cache(offline, "org/name", repositories / "vit", "v1")
    assert open_teacher("hf:org/name?revision=v1").shapes.logits == 3
    with pytest.raises(ModelError, match=r"config\.json of the Hugging Face repository 'org/name' could not be had"):
        open_teacher("hf:org/name")
    with pytest.raises(ModelError, match=r"'org/name' at 'v2' could not be had"):
        open_teacher("hf:org/name?revision=v2")


def test_without_a_network_it_is_said_what_was_tried_and_what_can_be_done(offline: Path) -> None:
    with pytest.raises(ModelError) as raised:
        open_teacher("hf:google/vit-base-patch16-224")
    text = str(raised.value)
    assert "config.json of the Hugging Face repository 'google/vit-base-patch16-224' could not be had" in text
    assert f"looked in the cache {offline}, then asked https://huggingface.co (it can't be reached)" in text
    assert "`hf download google/vit-base-patch16-224 --local-dir FOLDER`" in text
    assert "give it as 'hf:FOLDER'" in text


def test_weights_that_were_cut_off_are_named_as_such(repositories: Path, offline: Path) -> None:
    snapshot = fill_cache(offline, "org/name", repositories / "vit")
    (snapshot / "model.safetensors").unlink()
    blobs = offline / "models--org--name" / "blobs"
    blobs.mkdir()
    (blobs / "abc.incomplete").write_bytes(b"12345")
    with pytest.raises(ModelError) as raised:
        open_teacher("hf:org/name")
    assert "model.safetensors or pytorch_model.bin of the Hugging Face repository 'org/name'" in str(raised.value)
    assert f"A download of it was cut off after 5 bytes ({blobs / 'abc.incomplete'})" in str(raised.value)


def test_the_users_wish_to_stay_offline_is_heeded(
    repositories: Path, serve_hub: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve_hub({"org/name": repositories / "vit"})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        open_teacher("hf:org/name")
    assert asked == []


def test_what_the_hub_does_not_have_is_told(repositories: Path, serve_hub: Serve, tmp_path: Path) -> None:
    shutil.copytree(repositories / "vit", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    serve_hub({"org/bare": tmp_path / "bare"})
    with pytest.raises(ModelError, match=r"has no repository 'org/none' that is open to you"):
        open_teacher("hf:org/none")
    with pytest.raises(ModelError, match=r"'org/bare' has no model\.safetensors or pytorch_model\.bin"):
        open_teacher("hf:org/bare")


def test_a_hub_that_breaks_off_is_told(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*args: object, **options: object) -> str:
        raise OSError("connection reset")

    monkeypatch.setattr(hub_files, "is_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", break_off)
    with pytest.raises(ModelError, match=r"then asked https://huggingface\.co \(OSError: connection reset\)"):
        open_teacher("hf:org/name")
