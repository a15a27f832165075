"""CLIP's image towers by the names that people use for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from dropkd.errors import ModelError
from dropkd.models import build_network, create_model, model_names, native_input, open_teacher
from dropkd.models.clip_names import _TOWERS, clip_names
from dropkd.models.names import find_library, is_model_name


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("ViT-L-14", "vit_large_patch14_clip_224.laion2b"),
        ("ViT-L-14/laion2b_s32b_b82k", "vit_large_patch14_clip_224.laion2b"),
        ("ViT-L-14/openai", "vit_large_patch14_clip_quickgelu_224.openai"),
        ("ViT-L-14-quickgelu", "vit_large_patch14_clip_quickgelu_224.openai"),
        ("ViT-L/14", "vit_large_patch14_clip_quickgelu_224.openai"),
        ("ViT-L/14@336px", "vit_large_patch14_clip_quickgelu_336.openai"),
        ("ViT-B-32/laion2b_s34b_b79k", "vit_base_patch32_clip_224.laion2b"),
        ("RN50/openai", "resnet50_clip.openai"),
        ("vit_large_patch14_clip_224.openai", "vit_large_patch14_clip_224.openai"),
    ],
)
def test_a_name_leads_to_timms_tower_with_these_weights(name: str, tower: str) -> None:
    library, found, shortest = find_library(name)
    assert (library.source, found, shortest) == ("timm", tower, tower)


@pytest.mark.parametrize("architecture", clip_names())
def test_timm_has_every_tower_of_the_table(architecture: str) -> None:
    assert is_model_name(architecture)
    assert all(is_model_name(f"{architecture}/{weights}") for weights in _TOWERS.get(architecture, ()))


def test_weights_that_want_the_cruder_gelu_get_it() -> None:
    for towers in _TOWERS.values():
        for tower in towers.values():
            notes = timm.models.get_pretrained_cfg(tower).notes or ()
            assert "quickgelu" in tower or not any("natively QuickGELU" in note for note in notes)


def test_the_tower_gets_a_classifier_of_the_datas_classes() -> None:
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    network = build_network("ViT-L-14/openai", num_classes=7, image_size=28, options=small)
    assert network.spec.name == "vit_large_patch14_clip_quickgelu_224.openai"
    assert network.spec.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert network.model.head.out_features == 7
    assert type(network.model.blocks[0].mlp.act).__name__ == "QuickGELU"
    assert native_input("ViT-L/14@336px") == (336, 336)


def write_as_openclip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a tower's weights under OpenCLIP's names, with some of a text tower beside them."""
    renamed = {
        "cls_token": "class_embedding",
        "pos_embed": "positional_embedding",
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "blocks.": "transformer.resblocks.",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    found = {}
    for key, value in state.items():
        for one, other in renamed.items():
            key = key.replace(one, other)
        found["visual." + re.sub(r"^norm\.", "ln_post.", key)] = value
    found["visual.class_embedding"] = found["visual.class_embedding"][0, 0]
    found["visual.positional_embedding"] = found["visual.positional_embedding"][0]
    found["visual.proj"] = found.pop("visual.head.weight").T
    del found["visual.head.bias"]
    return {**found, "logit_scale": torch.tensor(4.6), "token_embedding.weight": torch.rand(5, 8)}


def test_a_file_of_openclip_is_read_for_its_image_tower(tmp_path: Path) -> None:
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 28}
    tower = timm.create_model("vit_large_patch14_clip_224", num_classes=12, **small).eval()
    torch.nn.init.zeros_(tower.head.bias)
    torch.save(write_as_openclip(tower.state_dict()), tmp_path / "open_clip_pytorch_model.bin")
    network = build_network(
        "ViT-L-14",
        num_classes=None,
        image_size=28,
        checkpoint=tmp_path / "open_clip_pytorch_model.bin",
        options={key: value for key, value in small.items() if key != "img_size"},
    ).eval()
    pixels = torch.rand(2, 3, 28, 28)
    assert network.shapes.logits == 12
    assert torch.allclose(network.model(pixels), tower(pixels), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ViT-L-15", "Unknown model 'ViT-L-15'. Did you mean 'ViT-L-14'?"),
        ("ViT-L/13", "Unknown model 'ViT-L/13'. Did you mean 'ViT-L/14'?"),
        ("ViT-B-23/openai", "Unknown model 'ViT-B-23/openai'. Did you mean 'ViT-B-32'?"),
        ("ViT-L-14/opnai", "Weights of 'ViT-L-14': laion2b_s32b_b82k, openai, laion400m_e32, "),
        ("ViT-L-14/opnai", "Did you mean 'openai'? A file of others loads as 'ViT-L-14:FILE'."),
        ("ViT-H-14/openai", "Weights of 'ViT-H-14': laion2b_s32b_b79k."),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        create_model(name, num_classes=7)


def test_a_listing_knows_them_too() -> None:
    assert [row.name for row in model_names("ViT-L-14/openai")] == ["vit_large_patch14_clip_quickgelu_224.openai"]


def test_weights_that_cannot_be_had_name_the_place_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropkd.models.timm_library.is_reachable", lambda: False)
    monkeypatch.setattr("dropkd.models.timm_library.find_cached", lambda *names: None)
    with pytest.raises(ModelError, match=r"'timm/vit_large_patch14_clip_224.openai'.*model.safetensors"):
        open_teacher("ViT-L-14/openai")
