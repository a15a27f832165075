"""The options of a method: read off its constructor, checked, and said in words when they are wrong."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, ValidationError, create_model

from dropkd.errors import ConfigError, did_you_mean
from dropkd.methods.combination import Combined
from dropkd.methods.method import Method
from dropkd.methods.per_teacher import PerTeacher

__all__ = ["Option", "Rate", "Temperature", "check_options", "list_options", "spell_out_options"]

Rate = Annotated[float, Ge(0), Lt(1)]
Temperature = Annotated[float, Gt(0)]

_SIGNS = ((Gt, "gt", "greater than"), (Ge, "ge", "at least"), (Lt, "lt", "less than"), (Le, "le", "at most"))


@dataclass(frozen=True)
class Option:
    """One option of a method.

    Args:
        name: the key under ``method``.
        annotation: its type as annotated.
        default: its default value.
        constraint: type and range in words, such as "number, at least 0, less than 1".
        description: what it does, from the Args section of the class.
    """

    name: str
    annotation: Any
    default: Any
    constraint: str
    description: str


def list_options(cls: type[Method]) -> dict[str, Option]:
    """Return the options of a method by name, in the order of its constructor.

    Those of a combination are called ``METHOD.OPTION``.

    Raises:
        TypeError: the constructor is not ``(self, pair, *, options...)``, or an option has no type or no
            default.
    """
    if issubclass(cls, PerTeacher):
        return list_options(cls.part)
    if issubclass(cls, Combined):
        inner = [(name, option) for name, part in cls.parts.items() for option in list_options(part).values()]
        return {f"{name}.{option.name}": replace(option, name=f"{name}.{option.name}") for name, option in inner}
    hints = get_type_hints(cls.__init__, include_extras=True)
    described = _read_descriptions(inspect.getdoc(cls) or "")
    options = {}
    for parameter in list(inspect.signature(cls).parameters.values())[1:]:
        name, where = parameter.name, f"{cls.__name__}.__init__: {parameter.name}"
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{where} must be a keyword-only argument; the constructor is (self, pair, *, options).")
        if parameter.default is inspect.Parameter.empty or name not in hints:
            raise TypeError(f"{where} needs a type and a default.")
        text = _describe_type(hints[name])
        options[name] = Option(name, hints[name], parameter.default, text, described.get(name, ""))
    return options


def check_options(cls: type[Method], name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options with their types checked, as keyword arguments of the constructor.

    Args:
        cls: the method.
        name: what users call it.
        values: the options that were given; those left out keep their defaults. Those of a combination are in a group
            by the name of their method.

    Raises:
        ConfigError: unknown options, wrong types or values out of range; all of them at once, a line each.
    """
    checked, mistakes = _check_group(cls, name, values, "method")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return {"options": checked} if issubclass(cls, Combined) else checked


def spell_out_options(cls: type[Method], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of a method with its value, the default where none is given."""
    if issubclass(cls, PerTeacher):
        return spell_out_options(cls.part, values)
    if issubclass(cls, Combined):
        return {name: spell_out_options(part, values.get(name, {})) for name, part in cls.parts.items()}
    return {name: option.default for name, option in list_options(cls).items()} | dict(values)


def _check_group(
    cls: type[Method], name: str, values: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the checked options of a method, and a line for each mistake in them."""
    if issubclass(cls, Combined):
        return _check_parts(cls, name, values, where)
    options = list_options(cls)
    mistakes = [_describe_unknown(key, name, options, where) for key in values if key not in options]
    known = {key: value for key, value in values.items() if key in options}
    fields: dict[str, Any] = {key: (options[key].annotation, ...) for key in known}
    model = create_model(cls.__name__, __config__=ConfigDict(strict=True, allow_inf_nan=False), **fields)
    try:
        # Through JSON, a list passes for a tuple while a string does not pass for a number.
        checked = model.model_validate_json(json.dumps(known, default=repr))
    except ValidationError as error:
        wrong = dict.fromkeys(str(detail["loc"][0]) for detail in error.errors())
        mistakes += [f"{where}.{k} must be {options[k].constraint}, got {known[k]!r}." for k in wrong]
        return {}, mistakes
    return {key: getattr(checked, key) for key in known}, mistakes


def _check_parts(
    cls: type[Combined], name: str, values: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str]]:
    checked, mistakes = {}, []
    for key, group in values.items():
        if key in cls.parts and isinstance(group, Mapping):
            checked[key], found = _check_group(cls.parts[key], key, group, f"{where}.{key}")
            mistakes += found
        elif key in cls.parts:
            mistakes.append(f"{where}.{key} must be a group of options of {key}, got {group!r}.")
        else:
            owners = [f"'{where}.{part}.{key}'" for part, method in cls.parts.items() if key in list_options(method)]
            near = f" Did you mean {' or '.join(owners)}?" if owners else did_you_mean(key, cls.parts)
            known = ", ".join(f"{where}.{option}" for option in list_options(cls)) or "none"
            mistakes.append(f"unknown key '{where}.{key}' of {name}.{near} Its options: {known}.")
    return checked, mistakes


def _describe_unknown(key: str, name: str, options: Mapping[str, Option], where: str) -> str:
    listing = f"Its options: {', '.join(options)}." if options else "It has no options."
    return f"unknown key '{where}.{key}' of {name}.{did_you_mean(key, options)} {listing}"


def _describe_type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *limits = get_args(annotation)
        return ", ".join([_describe_type(inner), *(text for limit in limits for text in _describe_limits(limit))])
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(annotation))
    if origin is tuple:
        return f"a list, each {_describe_type(get_args(annotation)[0])}"
    if origin is Union or type(annotation).__name__ == "UnionType":
        return " or ".join(_describe_type(choice) for choice in get_args(annotation))
    words = {
        float: "a number",
        int: "a whole number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    return words.get(annotation, str(annotation))


def _describe_limits(limit: Any) -> list[str]:
    return [f"{words} {getattr(limit, sign)}" for kind, sign, words in _SIGNS if isinstance(limit, kind)]


def _read_descriptions(docstring: str) -> dict[str, str]:
    """Return what the Args section of a docstring says of each name."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", docstring, flags=re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section.group(1), flags=re.MULTILINE) if section else []
    return {name: re.sub(r"\s+", " ", text).strip() for name, text in entries}
