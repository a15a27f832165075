"""Zero-shot teachers: the classes are named in words, and an image's logits say how well each of them describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dropkd.errors import ConfigError, ModelError
from dropkd.models.hub_files import read_json
from dropkd.models.network import Network
from dropkd.models.repository import open_files
from dropkd.models.sources import Source, parse_source
from dropkd.models.spec import ModelSpec, parse_image_size
from dropkd.models.tapped import TappedNetwork
from dropkd.models.teachers.open_clip_towers import open_clip_folder, open_clip_model
from dropkd.models.teachers.phrases import PROMPTS, read_phrases, read_prompts, resolve_phrases, resolve_prompts
from dropkd.models.teachers.towers import Towers
from dropkd.models.teachers.transformers_towers import open_transformers_towers

__all__ = ["open_zero_shot", "zero_shot_teacher"]

# Texts that are embedded at a time; more take memory and save no time.
_BATCH = 256


def zero_shot_teacher(
    model: str,
    classes: Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    prompts: Sequence[str] = PROMPTS,
    image_size: int | Sequence[int] | None = None,
    map_modules: Sequence[str] | None = None,
) -> Network:
    """Return a teacher that knows classes by their names.

    Its logits are the cosine of an image's embedding and the class's, times the scale that the towers were trained
    with. A class's embedding is the mean over all its phrases in all templates, each of length 1, brought to length 1.
    The text tower is dropped once these are known.

    Args:
        model: ``MODEL/WEIGHTS`` as OpenCLIP names them, ``MODEL:FILE``, ``hf:ORG/NAME`` or ``hf:FOLDER`` (OpenCLIP's,
            or transformers' CLIP and SigLIP).
        classes: names in the order of the logits, whose phrases are themselves with spaces for underscores; or one
            phrase or several for each name.
        prompts: templates with ``{}`` where the phrase goes.
        image_size: side, or height and width, that the image tower is fed; what it was trained for where None.
        map_modules: names of the modules whose outputs are the maps; found where None.

    Raises:
        ConfigError: no class, an empty phrase, a template without ``{}``.
        ModelError: an unknown model, weights that can't be had or don't fit.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, sections 3.1
        and 3.1.4.
    """
    source = parse_source(f"clip:{model.removeprefix('clip:')}")
    return _join_towers(
        source, resolve_phrases(classes, None), resolve_prompts(prompts), parse_image_size(image_size), map_modules
    )


def open_zero_shot(
    source: Source,
    classes: Sequence[str] | None,
    *,
    image_size: int | Sequence[int] | None = None,
    map_modules: Sequence[str] | None = None,
) -> Network:
    """Return the zero-shot teacher that a source names.

    Args:
        source: its options may name a file of prompts and one of class names.
        classes: the data's class names, or None where those in the file are to be kept.
        image_size: as for :func:`zero_shot_teacher`.
        map_modules: as for :func:`zero_shot_teacher`.

    Raises:
        ConfigError: a file of prompts or class names is wrong, or no classes are named.
        ModelError: an unknown model, weights that can't be had or don't fit.
    """
    file, prompts = source.options.get("classes"), source.options.get("prompts")
    if file is not None:
        phrases = resolve_phrases(read_phrases(file), classes, file)
    elif classes is not None:
        phrases = resolve_phrases(classes, None)
    else:
        raise ConfigError(
            f"{str(source)!r} knows no classes of its own: name them by '{source}{'&' if prompts else '?'}"
            "classes=FILE' (CSV with the columns class and phrase, JSON or YAML), or in Python by "
            "dropkd.models.zero_shot_teacher."
        )
    templates = PROMPTS if prompts is None else read_prompts(prompts)
    return _join_towers(source, phrases, templates, parse_image_size(image_size), map_modules)


class _ZeroShotModel(nn.Module):
    """An image tower and the embeddings of the classes, which are the rows of its classifier."""

    def __init__(self, towers: Towers, classes: Tensor) -> None:
        super().__init__()
        self.tower = towers.image
        self.classifier = nn.Linear(classes.shape[1], classes.shape[0], bias=towers.bias is not None)
        self.classifier.weight = nn.Parameter(towers.scale * classes)
        if towers.bias is not None:
            nn.init.constant_(self.classifier.bias, towers.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, K) of normalised images."""
        logits: Tensor = self.classifier(F.normalize(self.tower(pixels), dim=-1))
        return logits


def _join_towers(
    source: Source,
    phrases: Mapping[str, Sequence[str]],
    prompts: Sequence[str],
    image_size: tuple[int, int] | None,
    map_modules: Sequence[str] | None,
) -> Network:
    towers = _open_towers(source, image_size)
    spec = ModelSpec(
        name=f"clip:{source.name}",
        num_classes=len(phrases),
        image_size=towers.image_size,
        mean=towers.mean,
        std=towers.std,
        interpolation=towers.interpolation,
        classes=tuple(phrases),
    )
    model = _ZeroShotModel(towers, _embed_classes(towers, list(phrases.values()), prompts))
    return TappedNetwork(model.requires_grad_(False).eval(), spec, map_modules=map_modules)


def _open_towers(source: Source, image_size: tuple[int, int] | None) -> Towers:
    if not source.name.startswith("hf:"):
        return open_clip_model(source.name, None if source.file is None else Path(source.file), image_size)
    files = open_files(source)
    if (config := files.find("open_clip_config.json")) is not None:
        return open_clip_folder(files, config.parent, image_size)
    if (config := files.find("config.json")) is not None:
        return open_transformers_towers(files, read_json(config), config.parent, image_size)
    raise ModelError(files.explain_absence("open_clip_config.json", "config.json"))


@torch.no_grad()
def _embed_classes(towers: Towers, phrases: Sequence[Sequence[str]], prompts: Sequence[str]) -> Tensor:
    """Return one embedding of length 1 for each class, (K, D)."""
    texts = [prompt.replace("{}", phrase) for own in phrases for phrase in own for prompt in prompts]
    parts = [towers.embed(texts[start : start + _BATCH]).float() for start in range(0, len(texts), _BATCH)]
    embedded = F.normalize(torch.cat(parts), dim=-1)
    counts = [len(own) * len(prompts) for own in phrases]
    return F.normalize(torch.stack([part.mean(0) for part in torch.split(embedded, counts)]), dim=-1)
