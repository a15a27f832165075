"""Configurations as flat lists of dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

__all__ = ["list_defaults", "list_keys"]


def list_keys(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each key of a tree with its value; an empty section is a value.

    Example:
        >>> list(list_keys({"seed": 0, "data": {"path": "photos"}, "method": {}}))
        [('seed', 0), ('data.path', 'photos'), ('method', {})]
    """
    for name, value in tree.items():
        here = (*at, str(name))
        if isinstance(value, Mapping) and value:
            yield from list_keys(value, here)
        else:
            yield ".".join(here), value


def list_defaults(section: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each key of a section, those of optional sections too, with its default.

    It is ``pydantic_core.PydanticUndefined`` for a key that has to be given.
    """
    for name, field in section.model_fields.items():
        here = (*at, name)
        # An optional section is a union with None.
        sections = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)]
        for inner in sections:
            yield from list_defaults(inner, here)
        if not sections:
            yield ".".join(here), field.get_default(call_default_factory=True)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
