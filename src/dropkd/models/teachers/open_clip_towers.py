"""OpenCLIP's pairs of towers, with weights by name, of a file, or of a folder."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.checkpoint import read_tensors
from dropkd.models.clip_names import resolve_clip_name
from dropkd.models.fitting import fit_tensors
from dropkd.models.hub_files import HubFiles, RepositoryFiles
from dropkd.models.library import nearest_interpolation
from dropkd.models.repository_library import read_weights
from dropkd.models.spec import to_triple
from dropkd.models.teachers.logits_only import is_torchscript
from dropkd.models.teachers.towers import Towers

__all__ = ["open_clip_folder", "open_clip_model"]

# Files of weights in a repository, in the order in which they are looked for.
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Numbers that OpenAI's archives keep beside the weights.
_NUMBERS = ("input_resolution", "context_length", "vocab_size")


def open_clip_model(name: str, file: Path | None, image_size: tuple[int, int] | None) -> Towers:
    """Return the towers of an architecture.

    Args:
        name: ``MODEL/WEIGHTS``, or ``MODEL`` where a file is given.
        file: of weights, in OpenCLIP's layout or OpenAI's; None for the published ones.
        image_size: height and width that the image tower is fed; what it was trained for where None.

    Raises:
        ModelError: an unknown architecture or weights, or weights that can't be had or don't fit.
    """
    library = _import_open_clip()
    architecture, weights = resolve_clip_name(name)
    known = library.list_models()
    if architecture not in known:
        raise ModelError(
            f"OpenCLIP has no model {architecture!r}.{did_you_mean(architecture, known)} It has {len(known)}, such as "
            "ViT-B-32, ViT-L-14 and RN50; a teacher is named as 'clip:MODEL/WEIGHTS' or 'clip:MODEL:FILE'."
        )
    if file is not None:
        tensors, is_openai = _read_clip_file(file)
        model = _build(architecture, image_size, {}, force_quick_gelu=is_openai)
        _load(model, tensors, f"{str(file)!r} does not fit {architecture!r}")
        return _take_towers(model, architecture)
    config = library.get_pretrained_cfg(architecture, weights or "")
    if not config:
        tags = library.list_pretrained_tags_by_model(architecture)
        raise ModelError(
            f"OpenCLIP has no weights {weights!r} of {architecture!r}. It has: {', '.join(tags) or 'none'}."
            f"{did_you_mean(weights or '', tags)} A file of others loads as 'clip:{architecture}:FILE'."
        )
    tensors = _fetch(architecture, config)
    model = _build(architecture, image_size, config, force_quick_gelu=bool(config.get("quick_gelu")))
    _load(model, tensors, f"The published weights {weights!r} do not fit {architecture!r}")
    return _take_towers(model, architecture)


def open_clip_folder(files: RepositoryFiles, folder: Path, image_size: tuple[int, int] | None) -> Towers:
    """Return the towers of a repository that OpenCLIP wrote.

    Args:
        files: of the repository.
        folder: holds its ``open_clip_config.json``.
        image_size: height and width that the image tower is fed; what it was trained for where None.

    Raises:
        ModelError: a file is missing or damaged, or the weights don't fit.
    """
    _import_open_clip()
    tensors = read_weights(files, _WEIGHTS)
    name = f"local-dir:{folder}"
    model = _build(name, image_size, {}, force_quick_gelu=False)
    _load(model, tensors, f"The weights of {files.source} do not fit its open_clip_config.json")
    return _take_towers(model, name)


def _fetch(architecture: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the published weights, from the cache or from where they are kept."""
    repository, _, file = str(config.get("hf_hub", "")).rpartition("/")
    if repository:
        by_hand = f"clip:hf:FOLDER' or its file of weights as 'clip:{architecture}:FILE"
        files = HubFiles(repository, by_hand=by_hand)
        # A pickled file often has a twin that is none.
        names = (f"{file.rpartition('.')[0]}.safetensors", file) if file else _WEIGHTS
        return read_weights(files, tuple(dict.fromkeys(names)))
    url, folder = str(config["url"]), Path("~/.cache/clip").expanduser()
    try:
        path = Path(_import_open_clip().download_pretrained_from_url(url))
    except Exception as error:
        raise ModelError(
            f"The published weights of {architecture!r} could not be had: looked in {folder}, then asked for {url} "
            f"({type(error).__name__}: {error}). Without a network, put that file into the folder, or give it as "
            f"'clip:{architecture}:FILE'."
        ) from error
    return _read_clip_file(path)[0]


def _read_clip_file(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Return the tensors of a file, and whether it is an archive of OpenAI's, whose weights want QuickGELU."""
    if not is_torchscript(path):
        return read_tensors(path), False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load.* is deprecated")
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(f"{str(path)!r} is damaged or no TorchScript ({type(error).__name__}: {error}).") from error
    # Of the program only its weights are read; nothing of it is run.
    return dict(archive.state_dict()), True


def _build(name: str, image_size: tuple[int, int] | None, recipe: Mapping[str, Any], *, force_quick_gelu: bool) -> Any:
    """Return OpenCLIP's model with random weights.

    Args:
        name: of the architecture, or of a folder.
        image_size: height and width that the image tower is fed, or None.
        recipe: mean, standard deviation and resampling where the architecture does not say them.
        force_quick_gelu: whether its activations are the cruder form of GELU.
    """
    given = {key: recipe[key] for key in ("mean", "std", "interpolation") if key in recipe}
    try:
        with _quiet():
            return _import_open_clip().create_model(
                name,
                load_weights=False,
                force_quick_gelu=force_quick_gelu,
                force_image_size=image_size,
                force_preprocess_cfg=given or None,
                pretrained_text=False,
            )
    except Exception as error:
        raise ModelError(
            f"OpenCLIP can't build {name!r} ({type(error).__name__}: {error}). Some of its text towers need files of "
            "the Hugging Face hub; towers without (ViT-B-32, ViT-L-14, RN50, ...) need nothing but their weights."
        ) from error


def _load(model: Any, tensors: Mapping[str, Tensor], subject: str) -> None:
    """Load weights in OpenCLIP's or OpenAI's layout into a pair of towers."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    state = {key.removeprefix("module."): value for key, value in tensors.items() if key not in _NUMBERS}
    own = model.state_dict()
    state = dict(convert_state_dict(model, state))
    if "positional_embedding" in state and "positional_embedding" not in own:
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):
        if key in state and key in own:
            state[key] = state[key].reshape(own[key].shape)
    if "logit_bias" in own and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(own["logit_bias"])
    with _quiet():
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
    fit_tensors(model, {key: value.float() for key, value in state.items()}, subject=subject)


def _take_towers(model: Any, name: str) -> Towers:
    library = _import_open_clip()
    try:
        with _quiet():
            tokenizer = library.get_tokenizer(name, context_length=getattr(model, "context_length", None))
    except Exception as error:
        raise ModelError(
            f"The tokenizer of {name!r} could not be had ({type(error).__name__}: {error}). It is kept on the web, not "
            "with the weights: fetch it once with a network, or take a model with CLIP's own tokenizer (ViT-B-32, ...)."
        ) from error
    model.eval()

    def embed(texts: Sequence[str]) -> Tensor:
        embedded: Tensor = model.encode_text(tokenizer(list(texts)))
        return embedded

    recipe = library.get_model_preprocess_cfg(model)
    size = recipe["size"]
    bias = getattr(model, "logit_bias", None)
    return Towers(
        image=model.visual,
        embed=embed,
        scale=math.exp(model.logit_scale.item()),
        bias=None if bias is None else bias.item(),
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        mean=to_triple(recipe["mean"]),
        std=to_triple(recipe["std"]),
        interpolation=nearest_interpolation(str(recipe.get("interpolation", "bicubic"))),
    )


def _import_open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise ModelError(
            "Zero-shot teachers need OpenCLIP, which is not installed: pip install 'dropkd[clip]'."
        ) from error
    return open_clip


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCLIP's remarks from the screen; it makes them on the logger of all programs."""
    root, mute = logging.getLogger(), logging.NullHandler()
    level = logging.root.manager.disable
    # A logger without any handler would be given one that prints.
    root.addHandler(mute)
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(mute)
