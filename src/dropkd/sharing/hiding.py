"""What is said of a run to others: nothing of the machine that it was made on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from dropkd.models.names import is_model_name
from dropkd.models.source_lists import join_sources, split_sources
from dropkd.models.sources import is_there, parse_source
from dropkd.run import Run

__all__ = ["find_own_paths", "hide_path", "mentioned", "name_data", "name_model", "name_source"]

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Shorter ones ("/root") may be anything.
_SHORTEST_PATH = 8


def hide_path(text: str, name: str) -> str:
    """Return the text, or a name in capitals where it looks like a path.

    Example:
        >>> hide_path("cosine", "schedule"), hide_path("/home/me/weights.pth", "checkpoint")
        ('cosine', 'CHECKPOINT')
    """
    is_path = text.startswith(("/", "~", ".")) or "\\" in text or "/" in text or is_there(text)
    return name.upper() if is_path and not _is_public_name(text) else text


def name_model(name: str) -> str:
    """Return the name of a model; of one that is called by a file, what kind of file that is."""
    if name == "custom" or _is_public_name(name) or name.startswith("transformers/"):
        return name
    if "/" not in name and "\\" not in name and not is_there(name):
        return name
    return f"{PurePosixPath(name).suffix.removeprefix('.') or 'unnamed'} file"


def name_source(source: str) -> str:
    """Return how a teacher is named to others: published ones by their name, all else as ``TEACHER``.

    Example:
        >>> name_source("resnet18:/home/me/best.pth"), name_source("/home/me/runs/teacher")
        ('resnet18:CHECKPOINT', 'TEACHER')
        >>> name_source("clip:ViT-B-32/openai?prompts=/home/me/prompts.txt")
        'clip:ViT-B-32/openai?prompts=PROMPTS'
    """
    return join_sources([_name_member(member) for member in split_sources(source)])


def name_data(path: str, given: str | None = None) -> str:
    """Return how the images are called to others.

    Args:
        path: where they are, as in the configuration.
        given: how their owner wants them to be called.

    Example:
        >>> name_data("/home/me/birds"), name_data("torchvision:CIFAR10"), name_data("/home/me/birds/list.csv")
        ('birds', 'CIFAR10', 'birds')
    """
    if given is not None:
        return given
    scheme, colon, rest = path.partition(":")
    if colon and scheme in ("torchvision", "hf") and not is_there(path):
        bare = re.split("[?@]", rest)[0]
        return bare if scheme == "torchvision" or _HUB_NAME.fullmatch(bare) else PurePosixPath(bare).name
    place = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    named = place.parent if place.suffix else place
    return named.name or "images"


def find_own_paths(run: Run) -> list[str]:
    """Return the places on this machine that nothing which is sent may name."""
    config = run.config
    places = [str(Path.home()), str(Path.cwd()), str(run.folder.resolve()), str(config.data.path)]
    places += [str(place) for place in (config.data.unlabelled, config.student.checkpoint, config.output) if place]
    if config.teacher is not None:
        places += [member for member in split_sources(config.teacher.source) if is_there(member)]
    return [place for place in dict.fromkeys(places) if Path(place).is_absolute() and len(place) >= _SHORTEST_PATH]


def _name_member(text: str) -> str:
    source = parse_source(text)
    if source.scheme in ("hf", "clip"):
        bare = source.name.removeprefix("hf:")
        shown = source.name if not is_there(bare) and not Path(bare).is_absolute() else "FOLDER"
        file = "" if source.file is None else ":CHECKPOINT"
        options = "&".join(
            f"{key}={value if key == 'revision' else key.upper()}" for key, value in source.options.items()
        )
        return f"{source.scheme}:{shown}{file}{'?' if options else ''}{options}"
    if source.file is not None and is_model_name(source.name):
        return f"{source.name}:CHECKPOINT"
    return text if _is_public_name(text) else "TEACHER"


def _is_public_name(text: str) -> bool:
    if text.startswith(("/", "~", ".")) or "\\" in text:
        return False
    return not any(sign in text for sign in ":?") and is_model_name(text)


def mentioned(content: bytes, places: Iterable[str]) -> str | None:
    """Return the first of these places that a file names, or None."""
    return next((place for place in places if place.encode() in content), None)
