"""Several sources in one text, as ``ensemble:A+B``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dropkd.errors import ModelError
from dropkd.models.names import is_model_name
from dropkd.models.sources import FILE_OPTIONS, Source, is_there, parse_source

__all__ = ["ENSEMBLE", "absolute_sources", "join_sources", "split_sources"]

# What a source begins with that names several.
ENSEMBLE = "ensemble:"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def split_sources(source: str) -> list[str]:
    """Return the members that ``ensemble:A+B`` names, or the source itself.

    Raises:
        ModelError: it names fewer than two.

    Example:
        >>> split_sources("ensemble:resnet18+resnet50")
        ['resnet18', 'resnet50']
        >>> split_sources("resnet18")
        ['resnet18']
    """
    if not source.startswith(ENSEMBLE):
        return [source]
    parts = source.removeprefix(ENSEMBLE).split("+")
    members = [member.strip() for member in _join_paths(parts) or parts]
    if len(members) < 2 or not all(members):
        raise ModelError(f"An ensemble names two or more teachers joined by +, as in 'ensemble:A+B', got {source!r}.")
    return members


def join_sources(sources: Sequence[str]) -> str:
    """Return the source that :func:`split_sources` parts into these."""
    return sources[0] if len(sources) == 1 else ENSEMBLE + "+".join(sources)


def absolute_sources(source: str) -> str:
    """Return the same source, or several, with paths that mean the same from any working folder."""
    return join_sources([str(_make_absolute(parse_source(member))) for member in split_sources(source)])


def _make_absolute(source: Source) -> Source:
    """Return the same source with paths that mean the same from any working folder."""
    name, file = source.name, source.file
    place = name.removeprefix("hf:")
    if source.scheme == "clip" and place != name and is_there(place):
        name = f"hf:{Path(place).absolute()}"
    elif is_there(name) and not _is_plain_name(source):
        name = str(Path(name).absolute())
    if file is not None and is_there(file):
        file = str(Path(file).absolute())
    options = {k: str(Path(v).absolute()) if k in FILE_OPTIONS else v for k, v in source.options.items()}
    return replace(source, name=name, file=file, options=options)


def _join_paths(parts: Sequence[str]) -> list[str] | None:
    """Return the parts, those of one path with a plus in it put together again; None where some are unknown."""
    if not parts:
        return []
    for count in range(1, len(parts) + 1):
        head = "+".join(parts[:count]).strip()
        if _is_source(head) and (rest := _join_paths(parts[count:])) is not None:
            return [head, *rest]
    return None


def _is_source(text: str) -> bool:
    """Tell whether a text may be one whole source; whether it can be opened is another question."""
    try:
        source = parse_source(text)
    except ModelError:
        return False
    if not all(is_there(value) for key, value in source.options.items() if key in FILE_OPTIONS):
        return False
    if source.scheme == "hf":
        return is_there(source.name) or _HUB_NAME.fullmatch(source.name) is not None
    if source.scheme == "clip":
        place = source.name.removeprefix("hf:")
        return is_there(source.file) if source.file is not None else is_there(place) or "/" in place or "-" in place
    name, file = source.name, source.file
    return is_model_name(text) or is_there(file if file is not None and is_model_name(name) else text)


def _is_plain_name(source: Source) -> bool:
    """Tell whether the name is a model's, whatever is called the same in the working folder."""
    return source.scheme == "clip" or (source.scheme == "" and is_model_name(source.name))
