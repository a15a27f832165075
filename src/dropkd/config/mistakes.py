"""What pydantic found wrong with a configuration, said in the user's own spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dropkd.config.schema import Config
from dropkd.errors import did_you_mean

__all__ = ["Origins", "describe_mistakes", "suggest_place"]

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "dict_type": "a group of keys",
    "model_type": "a group of keys",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
}
_MISSING = {
    "data.path": "the folder of images",
    "student.name": "the network to train",
    "teacher.source": "the network to learn from",
}


class Origins:
    """Where each value came from: the file, an override or a flag.

    Args:
        spelling: how the user writes a flag's key, e.g. ``{"training.epochs": "--epochs"}``.
    """

    def __init__(self, spelling: Mapping[str, str] | None = None) -> None:
        self.spelling = spelling or {}
        self._prefix: dict[tuple[str, ...], str] = {}
        self._flag: dict[tuple[str, ...], str | None] = {}

    def add(self, key: tuple[str, ...], prefix: str, flag: str | None) -> None:
        """Note that the value of a key was given last by this source."""
        self._prefix[key] = prefix
        self._flag[key] = flag

    def find(self, key: tuple[str, ...]) -> tuple[str, str | None]:
        """Return the prefix of a message about a key, and the flag's name if a flag set it."""
        inside = [known for known in self._prefix if known[: len(key)] == key]
        above = [key[:n] for n in range(len(key), 0, -1) if key[:n] in self._prefix]
        nearest = (above + inside)[:1]
        return (self._prefix[nearest[0]], self._flag[nearest[0]]) if nearest else ("", None)

    def name_source(self, line: str) -> str:
        """Return a line about a key of the method with the source of that key before it."""
        named = re.search(r"\bmethod(?:\.\w+)+", line)
        key = tuple(named.group().split(".")) if named else ("method", "name")
        prefix, _ = self.find(key)
        return prefix + line


def describe_mistakes(error: ValidationError, origins: Origins, method_keys: Collection[str] = ()) -> list[str]:
    """Return one line for each mistake.

    Args:
        error: what pydantic found.
        origins: where each value came from.
        method_keys: the options of the chosen method, for those that were looked for elsewhere.
    """
    lines = []
    for item in error.errors(include_url=False):
        key = tuple(str(part) for part in item["loc"] if part != "[key]")
        prefix, flag = origins.find(key)
        dotted = ".".join(key)
        if item["type"] in ("extra_forbidden", "invalid_key"):
            lines.append(f"{prefix}unknown key '{dotted}'.{_suggest_key(key, method_keys)}")
        elif item["type"] == "missing":
            lines.append(_describe_missing(dotted, origins))
        elif item["type"] == "value_error" and item["msg"].startswith("Value error, '"):
            # A check of several keys together names them itself.
            lines.append(prefix + item["msg"].removeprefix("Value error, "))
        else:
            name = "" if flag else f"'{dotted}' "
            lines.append(f"{prefix}{name}must be {_say_wanted(item)}, got {item['input']!r}{_suggest_value(item)}")
    return lines


def _describe_missing(key: str, origins: Origins) -> str:
    whole = next((known for known in _MISSING if known == key or known.startswith(f"{key}.")), key)
    meaning = f": {_MISSING[whole]}" if whole in _MISSING else ""
    return f"{origins.spelling.get(whole, repr(whole))} is missing{meaning}"


def _say_wanted(item: Mapping[str, Any]) -> str:
    context = item.get("ctx", {})
    kind = item["type"]
    if kind == "literal_error":
        return f"one of {context['expected']}".replace(" or ", ", ")
    if kind == "string_pattern_mismatch":
        return "auto, cpu, cuda or cuda:N"
    if kind in _WANTED:
        return _WANTED[kind].format(**context)
    return str(item["msg"]).removeprefix("Value error, ").removeprefix("must be ")


def _suggest_value(item: Mapping[str, Any]) -> str:
    if item["type"] != "literal_error" or not isinstance(item["input"], str):
        return ""
    known = [word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
    suggestion = did_you_mean(item["input"].lower(), known)
    return f".{suggestion}" if suggestion else ""


def suggest_place(key: str) -> str:
    """Return `` Did you mean 'x'?`` for a key that is known outside ``method``, or an empty string.

    Example:
        >>> suggest_place("weight_decay")
        " Did you mean 'training.weight_decay'?"
    """
    places = [f"{section}.{name}" for section in Config.model_fields for name in _list_keys((section,)) if name == key]
    places += [name for name in Config.model_fields if name == key]
    return f" Did you mean '{places[0]}'?" if places else ""


def _suggest_key(key: tuple[str, ...], method_keys: Collection[str]) -> str:
    *sections, leaf = key
    siblings = _list_keys(tuple(sections))
    options = {option.rpartition(".")[2]: f"method.{option}" for option in method_keys}
    found = did_you_mean(leaf, siblings) or suggest_place(leaf)
    if not found and (near := get_close_matches(leaf, options, n=1)):
        found = f" Did you mean '{options[near[0]]}'?"
    return found or (f" Known here: {', '.join(siblings)}." if siblings else "")


def _list_keys(sections: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for section in sections:
        field = model.model_fields.get(section)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
