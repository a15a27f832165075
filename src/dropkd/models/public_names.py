"""How networks are named to others: published ones by their name, none by its place on this machine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dropkd.models.names import is_model_name
from dropkd.models.source_lists import join_sources, split_sources
from dropkd.models.sources import is_there, parse_source

__all__ = ["is_public_name", "name_model", "name_source"]


def name_model(name: str) -> str:
    """Return the name of a model; of one that is called by a file, what kind of file that is."""
    if name == "custom" or is_public_name(name) or name.startswith("transformers/"):
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


def is_public_name(text: str) -> bool:
    """Return whether a text is the name of a library's model, and no place on this machine."""
    if text.startswith(("/", "~", ".")) or "\\" in text:
        return False
    return not any(sign in text for sign in ":?") and is_model_name(text)


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
    return text if is_public_name(text) else "TEACHER"
