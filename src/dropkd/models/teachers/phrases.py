"""What a zero-shot teacher is told of the classes: a phrase or several for each, and templates around them."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["PROMPTS", "read_phrases", "read_prompts", "resolve_phrases", "resolve_prompts"]

# Around every class where the user gives none: what a caption may say of a photo whatever it shows.
PROMPTS = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a small picture of a {}.",
    "a blurry picture of a {}.",
    "a picture of one {} on its own.",
    "an image that shows a {}.",
)
_COLUMNS = ("class", "phrase")
# More names than these say nothing new.
_MAX_NAMED = 10

_Phrases = dict[str, tuple[str, ...]]


def resolve_prompts(prompts: Sequence[str], place: str = "prompts") -> tuple[str, ...]:
    """Return templates, checked.

    Args:
        prompts: each with ``{}`` where the class goes.
        place: where they stand, for messages.

    Raises:
        ConfigError: there is none, or a line for each that has no ``{}``.
    """
    if not prompts:
        raise ConfigError(f"{place}: there is no template; write one on each line, such as {PROMPTS[0]!r}.")
    mistakes = [
        f"{place}: template {prompt!r} has no {{}}, where the class goes, as in {PROMPTS[0]!r}."
        for prompt in prompts
        if "{}" not in prompt
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tuple(prompts)


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """Return the templates of a text file, one on each line.

    Raises:
        ConfigError: there is no such file, it is no text, has no template, or one without ``{}``.
    """
    lines = _read_text(Path(path), "prompts").splitlines()
    return resolve_prompts([line.strip() for line in lines if line.strip()], str(path))


def read_phrases(path: str | Path) -> _Phrases:
    """Return the phrases of each class from a CSV file (columns ``class``, ``phrase``), a JSON or a YAML mapping.

    Raises:
        ConfigError: there is no such file, it is of another kind, or says nothing of a class that it names.
    """
    path = Path(path)
    text = _read_text(path, "class names")
    readers = {".csv": _parse_csv, ".json": _parse_json, ".yaml": _parse_yaml, ".yml": _parse_yaml}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{str(path)!r} must be a .csv, .json or .yaml file that gives each class its phrase.")
    try:
        table = readers[path.suffix.lower()](text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return resolve_phrases(table, None, str(path))


def resolve_phrases(
    table: Mapping[Any, Any] | Sequence[str], classes: Sequence[str] | None, place: str = "classes"
) -> _Phrases:
    """Return the phrases of each class, in the order of the data's classes.

    Args:
        table: one phrase or several for each class, or class names alone, whose phrases are themselves with spaces for
            underscores.
        classes: the data's class names in the order of the labels; where None, those of the table.
        place: where the table stands, for messages.

    Raises:
        ConfigError: a line for each mistake: a class of the data that has no phrase, one that the data lack, an empty
            phrase.

    Example:
        >>> resolve_phrases(["ankle_boot"], None)
        {'ankle_boot': ('ankle boot',)}
        >>> resolve_phrases({"a": "apple", "b": ["bear", "brown bear"]}, ["b", "a"])
        {'b': ('bear', 'brown bear'), 'a': ('apple',)}
    """
    if not isinstance(table, Mapping):
        table = {name: name.replace("_", " ") for name in table}
    phrases = {str(name): _list_phrases(value) for name, value in table.items()}
    if not phrases:
        raise ConfigError(f"{place}: there is no class.")
    mistakes = [f"{place}: class {name!r} has no phrase, or an empty one." for name, own in phrases.items() if not own]
    if classes is not None:
        known = set(classes)
        mistakes += [
            f"{place}: your data has no class {name!r}.{did_you_mean(name, classes) or _list_names(classes)}"
            for name in phrases
            if name not in known
        ]
        spare = [name for name in phrases if name not in known]
        mistakes += [
            f"{place}: your class {name!r} has no phrase.{did_you_mean(name, spare)}"
            for name in classes
            if name not in phrases
        ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return {name: phrases[name] for name in (phrases if classes is None else classes)}


def _list_phrases(value: Any) -> tuple[str, ...]:
    """Return one phrase or several as a tuple, which is empty where one of them is."""
    given = value if isinstance(value, (list, tuple)) else [value]
    found = tuple("" if phrase is None else str(phrase).strip() for phrase in given)
    return found if all(found) else ()


def _parse_csv(text: str) -> _Phrases:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    found = [name.strip() for name in reader.fieldnames or ()]
    if any(name not in found for name in _COLUMNS):
        raise ConfigError(f"must begin with a line that names the columns 'class' and 'phrase', got {found}")
    reader.fieldnames = found
    phrases: dict[str, list[str]] = defaultdict(list)
    for record in reader:
        phrases[(record["class"] or "").strip()].append((record["phrase"] or "").strip())
    return {name: tuple(given) for name, given in phrases.items()}


def _parse_json(text: str) -> Mapping[Any, Any]:
    try:
        return _require_mapping(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError(f"is no JSON ({error})") from None


def _parse_yaml(text: str) -> Mapping[Any, Any]:
    return _require_mapping(parse_yaml(text))


def _require_mapping(content: Any) -> Mapping[Any, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"must map each class to its phrase, got {type(content).__name__}")
    return content


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"There is no file of {what} {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file of {what} {str(path)!r} can't be read as UTF-8 text ({error}).") from None


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MAX_NAMED])) + (", ..." if len(names) > _MAX_NAMED else "")
    return f" It has {shown}."
