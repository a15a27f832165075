"""From a name to the library that has the model."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.clip_names import clip_names, translate_clip_name
from dropkd.models.library import Library
from dropkd.models.own import OwnLibrary
from dropkd.models.repository import open_repository
from dropkd.models.timm_library import TimmLibrary
from dropkd.models.torchvision_library import TorchvisionLibrary
from dropkd.models.transformers_library import TransformersLibrary

__all__ = ["ModelListing", "find_library", "is_model_name", "model_names", "native_input"]

# In the order in which a bare name is looked up.
_LIBRARIES: tuple[Library, ...] = (OwnLibrary(), TimmLibrary(), TorchvisionLibrary())
# By its prefix alone: its types (vit, resnet) are no names of models, and to list them it would have to be loaded.
_TRANSFORMERS = TransformersLibrary()


@dataclass(frozen=True)
class ModelListing:
    """One line of the list of models.

    Args:
        name: as it is given to build the model.
        source: ``dropkd``, ``timm`` or ``torchvision``.
        pretrained: whether there are published weights.
    """

    name: str
    source: str
    pretrained: bool


def find_library(name: str) -> tuple[Library, str, str]:
    """Return the library, the model's name in it, and the shortest name by which dropkd finds it.

    Raises:
        ModelError: no library has it.

    Example:
        >>> find_library("timm/resnet18")[1:]
        ('resnet18', 'resnet18')
        >>> find_library("torchvision/resnet18")[1:]
        ('resnet18', 'torchvision/resnet18')
        >>> find_library("ViT-L-14/openai")[1]
        'vit_large_patch14_clip_quickgelu_224.openai'
    """
    if name.startswith("hf:"):
        library, bare, lasting = open_repository(name, find_library)
        return library, bare, find_library(lasting)[2]
    if name.startswith("clip:"):
        tower = name.removeprefix("clip:").partition("?")[0]
        raise ModelError(
            f"{name!r} is a zero-shot teacher (--teacher), which has no classifier to train. As a network to train, "
            f"its image tower is called {tower!r}."
        )
    name = translate_clip_name(name) or name
    prefix, slash, bare = name.partition("/")
    for library in _LIBRARIES:
        if slash and prefix == library.source and library.has(bare):
            return library, bare, bare if _first_with(bare) is library else name
    if slash and prefix == _TRANSFORMERS.source:
        if _TRANSFORMERS.has(bare):
            return _TRANSFORMERS, bare, name
        raise ModelError(f"Unknown model {name!r}.{did_you_mean(bare, _TRANSFORMERS.names())}")
    library_of_bare = None if slash else _first_with(name)
    if library_of_bare is not None:
        return library_of_bare, name, name
    known = [listed for library in _LIBRARIES for listed in library.names()]
    bare = bare if slash else name
    # CLIP's names may hold a slash themselves, or have the name of weights after one.
    nearest = did_you_mean(bare.partition(".")[0], known) or _suggest_clip_name(name, prefix)
    raise ModelError(f"Unknown model {name!r}.{nearest} There are {len(known)}: `dropkd models PATTERN` lists them.")


def is_model_name(name: str) -> bool:
    """Return whether a library has the model; a wrong tag of a right name counts as no."""
    try:
        find_library(name)
    except ModelError:
        return False
    return True


def native_input(name: str) -> tuple[int, int] | None:
    """Return height and width that the model's published weights were trained at; None where there are none.

    Raises:
        ModelError: unknown model.
    """
    library, bare, _ = find_library(name)
    defaults = library.defaults(bare)
    return defaults.image_size if defaults.pretrained else None


def model_names(pattern: str = "*", pretrained_only: bool = False) -> list[ModelListing]:
    """Return the models whose name matches, dropkd's own first, then timm's, then torchvision's.

    Args:
        pattern: with ``*``, ``?`` and ``[...]``; without them, any part of the name. A name with a tag, which no list
            has, stands for that one model.
        pretrained_only: leave out those without published weights.
    """
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    rows = []
    seen: set[str] = set()
    for library in _LIBRARIES:
        for bare in library.names():
            name = f"{library.source}/{bare}" if bare in seen else bare
            seen.add(bare)
            spellings = (f"{library.source}/{bare}",) if "/" in wanted else (name, bare)
            if any(fnmatchcase(spelling, wanted) for spelling in spellings):
                rows.append(ModelListing(name, library.source, library.defaults(bare).pretrained))
    if not rows and is_model_name(pattern):
        library, bare, name = find_library(pattern)
        # A repository says more than the name that its architecture has without it.
        name = pattern if pattern.startswith("hf:") else name
        rows.append(ModelListing(name, library.source, library.defaults(bare).pretrained))
    return [row for row in rows if row.pretrained or not pretrained_only]


def _suggest_clip_name(*spellings: str) -> str:
    return next((found for spelling in spellings if (found := did_you_mean(spelling, clip_names()))), "")


def _first_with(bare: str) -> Library | None:
    return next((library for library in _LIBRARIES if library.has(bare)), None)
