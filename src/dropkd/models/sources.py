"""What a teacher's source names, taken apart: a scheme, a name, a file, options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.errors import ModelError, did_you_mean

__all__ = ["FILE_OPTIONS", "Source", "is_there", "parse_source"]

# The options that may follow a name of each scheme, as in ``hf:ORG/NAME?revision=v1``.
_OPTIONS = {"hf": ("revision",), "clip": ("prompts", "classes", "revision")}
# Those that name a file.
FILE_OPTIONS = ("prompts", "classes")
_FORMS = {
    "hf": "hf:ORG/NAME or hf:FOLDER",
    "clip": "clip:MODEL/WEIGHTS, clip:MODEL:FILE, clip:hf:ORG/NAME or clip:hf:FOLDER",
}


@dataclass(frozen=True)
class Source:
    """One source.

    Args:
        name: a model's name, a repository or a folder, or all of the text where it is a path.
        scheme: ``hf``, ``clip``, or empty.
        file: of weights, after a colon; None where none is named.
        options: what follows a question mark, by name.
    """

    name: str
    scheme: str = ""
    file: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        scheme = f"{self.scheme}:" if self.scheme else ""
        file = "" if self.file is None else f":{self.file}"
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{scheme}{self.name}{file}{'?' if options else ''}{options}"


def parse_source(text: str) -> Source:
    """Return the parts of one source.

    Raises:
        ModelError: nothing follows the scheme, or an option is unknown or empty.

    Example:
        >>> parse_source("resnet18:best.pth")
        Source(name='resnet18', scheme='', file='best.pth', options={})
        >>> parse_source("hf:timm/resnet18.a1_in1k?revision=main").options
        {'revision': 'main'}
        >>> parse_source("hf:timm/resnet18.a1_in1k@main").options
        {'revision': 'main'}
        >>> parse_source("clip:ViT-B-32/openai?prompts=p.txt").name
        'ViT-B-32/openai'
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _OPTIONS or is_there(text):
        file = rest if colon and not is_there(text) else None
        return Source(scheme if file is not None else text, file=file)
    body, question, query = (rest, "", "") if is_there(rest) else rest.partition("?")
    options = _parse_options(text, scheme, query) if question else {}
    if scheme == "hf" and "@" in body and not is_there(body) and "revision" not in options:
        # As timm and the hub's own links write it.
        body, _, options["revision"] = body.partition("@")
    name, file = body, None
    if scheme == "clip" and not body.startswith("hf:"):
        name, inner, given = body.partition(":")
        file = given if inner else None
    if not name or file == "":
        raise ModelError(f"{text!r} names nothing after {scheme!r}: give it as {_FORMS[scheme]}.")
    return Source(name, scheme, file, options)


def _parse_options(text: str, scheme: str, query: str) -> dict[str, str]:
    known, options = _OPTIONS[scheme], {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in known:
            raise ModelError(
                f"{text!r} has an unknown option {key!r}.{did_you_mean(key, known)} "
                f"Options of {scheme}: {', '.join(known)}, as in '{scheme}:...?{known[0]}=VALUE'."
            )
        if not value:
            raise ModelError(f"{text!r}: the option {key!r} has no value.")
        options[key] = value
    return options


def is_there(path: str) -> bool:
    """Return whether there is a file or a folder of that name; any text will do."""
    try:
        return Path(path).exists()
    except OSError:
        # Too long for a path.
        return False
