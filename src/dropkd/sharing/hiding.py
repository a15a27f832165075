"""What is said of a run to others: nothing of the machine that it was made on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from dropkd.models.public_names import is_public_name
from dropkd.models.source_lists import split_sources
from dropkd.models.sources import is_there
from dropkd.run import Run

__all__ = ["find_own_paths", "hide_path", "mentioned", "name_data"]

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
    return name.upper() if is_path and not is_public_name(text) else text


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


def mentioned(content: bytes, places: Iterable[str]) -> str | None:
    """Return the first of these places that a file names, or None."""
    return next((place for place in places if place.encode() in content), None)
