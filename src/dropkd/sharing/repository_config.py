"""``config.json`` of a repository: what the network is, for timm where it is one of timm's, and for dropkd."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from timm.models._hub import save_config_for_hf
from torch import nn

import dropkd
from dropkd.engine.plan import evaluation_frame
from dropkd.models.names import find_library
from dropkd.models.pushed import PUSHED
from dropkd.models.spec import ModelSpec
from dropkd.models.timm_library import TimmLibrary
from dropkd.sharing.licence import Licence

__all__ = ["describe_repository", "timm_architecture"]

# What timm copies from the weights that a model started from, and what is no longer true of it.
_OF_THE_SOURCE = (
    "tag",
    "license",
    "origin_url",
    "paper_name",
    "paper_ids",
    "notes",
    "test_input_size",
    "test_crop_pct",
)


def describe_repository(spec: ModelSpec, model: nn.Module | None, licence: Licence) -> dict[str, Any]:
    """Return the content of ``config.json``, as plain JSON values.

    Args:
        spec: of the student.
        model: the student as timm built it, None where it is none of timm's models.
        licence: of the student.
    """
    own = {PUSHED: {"version": dropkd.__version__, "network": spec.to_dict()}}
    if model is None:
        return own
    trained = {
        "input_size": [3, *spec.image_size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        # What the student was judged on is resized so, whatever its first weights were trained with.
        "interpolation": "bilinear",
        "crop_pct": _crop_share(spec),
        "crop_mode": "center",
        "num_classes": spec.num_classes,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        save_config_for_hf(model, str(path), model_config={"pretrained_cfg": trained}, model_args=dict(spec.options))
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    written = {key: value for key, value in config["pretrained_cfg"].items() if key not in _OF_THE_SOURCE}
    stated = {} if licence.identifier is None else {"license": licence.identifier}
    config["pretrained_cfg"] = {**written, **trained, **stated, "tag": "dropkd"}
    labels = {} if spec.classes is None else {"label_names": list(spec.classes)}
    return {**config, **labels, **own}


def _crop_share(spec: ModelSpec) -> float:
    """Return the share by which timm comes to the frame that the student was judged on.

    timm rounds the frame down where dropkd rounds it up, so the share is that of the frame itself, rounded down.
    """
    side = spec.image_size[0]
    frame = evaluation_frame(spec.image_size, spec.crop_fraction)[0]
    return math.floor(side / frame * 1e6) / 1e6


def timm_architecture(spec: ModelSpec) -> str | None:
    """Return the name by which timm builds the network, or None where it is none of timm's models.

    Example:
        >>> timm_architecture(ModelSpec("resnet18.a1_in1k", 10, (32, 32)))
        'resnet18'
        >>> timm_architecture(ModelSpec("cifar_resnet8", 10, (32, 32)))
    """
    if spec.name == "custom" or spec.name.startswith("transformers/"):
        return None
    library, bare, _ = find_library(spec.name)
    return bare.partition(".")[0] if isinstance(library, TimmLibrary) else None
