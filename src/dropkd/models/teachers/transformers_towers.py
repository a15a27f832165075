"""transformers' CLIP and SigLIP as pairs of towers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dropkd.errors import ModelError
from dropkd.models.hub_files import RepositoryFiles, read_json
from dropkd.models.repository_library import read_weights
from dropkd.models.spec import IMAGENET_MEAN, IMAGENET_STD
from dropkd.models.teachers.towers import Towers
from dropkd.models.transformers_images import ImageRecipe, read_image_recipe
from dropkd.models.transformers_library import (
    complete_image_values,
    import_transformers,
    load_transformers_tensors,
    quiet_transformers,
    size_of,
)

__all__ = ["open_transformers_towers"]

# Types with one vector for an image and one for a text, and how long SigLIP's texts are made.
_KINDS = {"clip": None, "siglip": 64}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "spiece.model",
                    "special_tokens_map.json")  # fmt: skip


def open_transformers_towers(
    files: RepositoryFiles, config: Mapping[str, Any], folder: Path, image_size: tuple[int, int] | None
) -> Towers:
    """Return the towers of a repository of transformers.

    Args:
        files: of the repository.
        config: its ``config.json``.
        folder: holds that file.
        image_size: height and width that the user wants the image tower to be fed; only its own will do.

    Raises:
        ModelError: it is no CLIP or SigLIP, a file is missing or damaged, or the weights don't fit.
    """
    kind = str(config.get("model_type"))
    if kind not in _KINDS:
        raise ModelError(f"{files.source} holds {kind!r}, which is no zero-shot teacher: {' and '.join(_KINDS)} are.")
    transformers = import_transformers()
    with quiet_transformers():
        try:
            built = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
            model = transformers.AutoModel.from_config(built).float()
        except Exception as error:
            raise ModelError(f"transformers can't build {files.source} ({type(error).__name__}: {error}).") from error
    load_transformers_tensors(
        model, read_weights(files), subject=f"The weights of {files.source} do not fit", fresh_head=False
    )
    own = size_of(built)
    if own is None or image_size not in (None, own):
        raise ModelError(f"{files.source} takes images of {own} pixels only, got {image_size}.")
    path = files.find("preprocessor_config.json")
    recipe = (
        ImageRecipe(own, IMAGENET_MEAN, IMAGENET_STD, "bicubic", 1.0, False)
        if path is None
        else read_image_recipe(complete_image_values(path.parent, read_json(path)))
    )
    bias = getattr(model, "logit_bias", None)
    return Towers(
        image=_ImageTower(model),
        embed=_make_embed(model.eval(), files, folder, _KINDS[kind]),
        scale=math.exp(model.logit_scale.item()),
        bias=None if bias is None else bias.item(),
        image_size=own,
        mean=recipe.mean,
        std=recipe.std,
        interpolation=recipe.interpolation,
    )


class _ImageTower(nn.Module):
    """What gives an image's embedding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        # SigLIP's pooling ends in the common space.
        self.projection = getattr(model, "visual_projection", None) or nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings (B, D) of normalised images."""
        embedded: Tensor = self.projection(self.vision_model(pixels).pooler_output)
        return embedded


def _make_embed(model: Any, files: RepositoryFiles, folder: Path, length: int | None) -> Any:
    for name in _TOKENIZER_FILES:
        files.find(name)
    transformers = import_transformers()
    try:
        with quiet_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"The tokenizer of {files.source} could not be read ({type(error).__name__}: {error}). "
            f"{files.explain_absence('tokenizer.json')}"
        ) from error
    limit = length or int(model.config.text_config.max_position_embeddings)

    def embed(texts: Sequence[str]) -> Tensor:
        padding = "max_length" if length is not None else True
        tokens = tokenizer(list(texts), padding=padding, truncation=True, max_length=limit, return_tensors="pt")
        answer = model.get_text_features(**tokens)
        embedded: Tensor = answer if isinstance(answer, Tensor) else answer.pooler_output
        return embedded

    return embed
