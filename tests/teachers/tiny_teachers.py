"""Teachers of a few thousand parameters, written in the layouts in which such models are published."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

CLOTHES = ("ankle_boot", "sandal", "trouser")
_TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
# Small configurations; what is fed to them is 32 pixels a side.
KINDS: dict[str, dict[str, Any]] = {
    "vit": {**_TRANSFORMER, "image_size": 32, "patch_size": 8},
    "deit": {**_TRANSFORMER, "image_size": 32, "patch_size": 8},
    "swin": {"embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 2, 2], "window_size": 2, "image_size": 32,
             "patch_size": 2},
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "resnet": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "embedding_size": 16, "layer_type": "basic"},
}  # fmt: skip
SIZES = {"vit": {"height": 32, "width": 32}, "deit": {"height": 32, "width": 32}, "swin": {"height": 32, "width": 32}}


def write_transformers(folder: Path, kind: str, classes: tuple[str, ...] = CLOTHES, **changes: Any) -> nn.Module:
    """Write a repository as transformers' own ``save_pretrained`` does, and return its model."""
    labels = dict(enumerate(classes))
    config = transformers.AutoConfig.for_model(kind, id2label=labels, **{**KINDS[kind], **changes})
    name = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[kind]
    torch.manual_seed(3)
    model = getattr(transformers, name if isinstance(name, str) else name[0])(config).eval()
    model.save_pretrained(folder)
    size = SIZES.get(kind, {"shortest_edge": 32})
    recipe = {"do_resize": True, "size": size, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    recipe |= {"image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe))
    return model


def write_timm(folder: Path, *, pickled: bool = False, classes: tuple[str, ...] = CLOTHES) -> nn.Module:
    """Write a repository as timm pushes it to the hub, and return its model."""
    torch.manual_seed(4)
    options = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=len(classes), **options).eval()
    folder.mkdir(parents=True, exist_ok=True)
    trained = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": len(classes),
        "num_features": 24,
        "label_names": list(classes),
        "model_args": options,
        "pretrained_cfg": {**trained, "crop_pct": 0.8, "num_classes": len(classes), "tag": "own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        save_file(model.state_dict(), folder / "model.safetensors")
    return model


def make_clip(name: str, **options: Any) -> Any:
    """Return OpenCLIP's model with the same random weights each time, in evaluation mode."""
    torch.manual_seed(5)
    logging.disable(logging.WARNING)
    try:
        model = open_clip.create_model(name, **options).eval()
    finally:
        logging.disable(logging.NOTSET)
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
    return model.requires_grad_(False)


def fill_cache(cache: Path, repository: str, folder: Path, revision: str = "main") -> Path:
    """Put a folder's files where the hub's client would have put them, and return that place."""
    stored = cache / f"models--{repository.replace('/', '--')}"
    commit = hashlib.sha256(revision.encode()).hexdigest()[:40]
    snapshot = stored / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (stored / "refs").mkdir(exist_ok=True)
    (stored / "refs" / revision).write_text(commit)
    for path in folder.iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    return snapshot
