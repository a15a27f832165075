"""Putting a configuration together from a file, ``--set`` and flags, and saying what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dropkd.config.extending import read_chain
from dropkd.config.mistakes import Origins, describe_mistakes, suggest_place
from dropkd.config.schema import Config
from dropkd.config.training_sections import MethodConfig
from dropkd.config.yaml_text import parse_yaml, write_yaml
from dropkd.errors import ConfigError

__all__ = ["dump_config", "load_config", "update_config"]

# `teacher: vit_base_patch16_224` is short for `teacher: {source: vit_base_patch16_224}`.
SHORT_FORMS = {"data": "path", "student": "name", "teacher": "source", "method": "name"}


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    spelling: Mapping[str, str] | None = None,
    check_method: Callable[[MethodConfig, Mapping[str, Any]], None] | None = None,
    list_method_keys: Callable[[str], Collection[str]] | None = None,
) -> Config:
    """Return the configuration that a file, ``key=value`` overrides and flags make together.

    Flags win over overrides, overrides over the file, the file over defaults.

    Args:
        path: a YAML file, or None. With ``extends: base.yaml``, or a list of such files, it starts from what these
            say, group by group; their names start from its folder.
        overrides: ``a.b=c``; c is read as YAML.
        flags: values by dotted key, e.g. ``{"training.epochs": 3}``; None means not given.
        defaults: values by dotted key for what nothing else sets.
        spelling: how the user wrote a flag's key, e.g. ``{"training.epochs": "--epochs"}``.
        check_method: raises a :class:`ConfigError` with a line for each mistake in the method's own keys,
            which are named ``method.KEY`` in it; the configuration itself knows no methods. It is told what stands
            under ``teacher`` as well, which may be wrong itself.
        list_method_keys: returns the options of the method of that name, to suggest one for a key that was put
            elsewhere.

    Raises:
        ConfigError: one line for each mistake, in the user's own spelling.
    """
    tree: dict[str, Any] = {}
    origins = Origins(spelling)
    mistakes: list[str] = []
    for key, value in (defaults or {}).items():
        _merge(tree, _nest(key.split("."), value), (), "", origins)
    for file, content in read_chain(path) if path is not None else ():
        _merge(tree, _spell_out(content), (), f"{file}: ", origins)
    for override in overrides:
        try:
            _merge(tree, _read_override(override), (), f"--set {override}: ", origins)
        except ConfigError as error:
            mistakes.append(str(error))
    for key, value in (flags or {}).items():
        if value is not None:
            flag = origins.spelling.get(key)
            branch = _nest(key.split("."), value)
            _merge(tree, _spell_out(branch), (), f"{flag}: " if flag else "", origins, flag=flag)
    if check_method is not None:
        mistakes += _find_method_mistakes(tree, check_method, origins)
    return _validate(tree, origins, mistakes, list_method_keys)


def update_config(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a checked copy of a configuration with other values, by dotted keys.

    Args:
        config: what to start from; it stays as it is.
        values: e.g. ``{"training.epochs": 10, "seed": 1}``; a None clears the key.

    Raises:
        ConfigError: one line for each mistake.
    """
    tree: dict[str, Any] = config.model_dump()
    for key, value in values.items():
        _merge(tree, _spell_out(_nest(key.split("."), value)), (), "", Origins())
    return _validate(tree, Origins(), [])


def dump_config(config: Config) -> str:
    """Return a configuration as YAML that is itself a valid input."""
    return write_yaml(config.model_dump(mode="json"))


def _validate(
    tree: dict[str, Any],
    origins: Origins,
    mistakes: Sequence[str],
    list_method_keys: Callable[[str], Collection[str]] | None = None,
) -> Config:
    found = list(mistakes)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        found += describe_mistakes(error, origins, _find_method_keys(tree, list_method_keys))
    if found:
        raise ConfigError("\n".join(dict.fromkeys(found)))
    return config


def _find_method_keys(tree: Mapping[str, Any], list_keys: Callable[[str], Collection[str]] | None) -> Collection[str]:
    method = tree.get("method", {})
    name = method.get("name") if isinstance(method, dict) else None
    try:
        return list_keys(name) if list_keys is not None and isinstance(name, str) else ()
    except ConfigError:
        return ()  # an unknown method is a mistake of its own


def _find_method_mistakes(
    tree: Mapping[str, Any], check: Callable[[MethodConfig, Mapping[str, Any]], None], origins: Origins
) -> list[str]:
    try:
        teacher = tree.get("teacher")
        check(MethodConfig.model_validate(tree.get("method", {})), teacher if isinstance(teacher, dict) else {})
    except ValidationError:
        return []  # said when the whole configuration is validated
    except ConfigError as error:
        return [origins.name_source(_suggest_place_of(line)) for line in str(error).splitlines()]
    return []


def _suggest_place_of(line: str) -> str:
    """Return a line about an unknown key of the method with the place where that key is known."""
    unknown = re.match(r"unknown key 'method\.(\w+)'", line)
    if unknown is None or "Did you mean" in line:
        return line
    end = line.index(".", unknown.end()) + 1
    return line[:end] + suggest_place(unknown.group(1)) + line[end:]


def _read_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: must look like training.epochs=3")
    try:
        return _spell_out(_nest(parts, parse_yaml(text)))
    except ConfigError as error:
        raise ConfigError(f"--set {override}: {error}") from None


def _nest(parts: Sequence[str], value: Any) -> dict[str, Any]:
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _spell_out(tree: dict[str, Any]) -> dict[str, Any]:
    short = {k: SHORT_FORMS[k] for k, v in tree.items() if k in SHORT_FORMS and isinstance(v, str)}
    return {key: {short[key]: value} if key in short else value for key, value in tree.items()}


def _merge(
    into: dict[str, Any],
    tree: Mapping[str, Any],
    at: tuple[str, ...],
    prefix: str,
    origins: Origins,
    *,
    flag: str | None = None,
) -> None:
    for key, value in tree.items():
        here = (*at, str(key))
        if isinstance(value, dict) and value:
            branch = into.get(key)
            into[key] = branch = branch if isinstance(branch, dict) else {}
            _merge(branch, value, here, prefix, origins, flag=flag)
        else:
            into[key] = value
            origins.add(here, prefix, flag)
