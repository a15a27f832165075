"""What a configuration was asked for that it would not have had by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dropkd.config import Config
from dropkd.methods.registry import method_class, method_options

__all__ = ["find_departures"]

# Where a run is, not what it does.
_INCIDENTAL = frozenset({"output"})


def find_departures(config: Config) -> dict[str, Any]:
    """Return each key whose value departs from its default, with that default.

    A default of None is a choice that is left to dropkd, by the data or by other keys. Keys without a default, as the
    images and the networks, can't depart from one.

    Args:
        config: as it was asked for, before the engine has filled in what was left open.
    """
    defaults = dict(_list_defaults(Config, ()))
    options = method_options(method_class(config.method.name))
    defaults |= {f"method.{name}": option.default for name, option in options.items()}
    asked = dict(_flatten(config.model_dump(mode="json"), ()))
    found = {}
    for key, value in asked.items():
        default = _find_default(defaults, key)
        if key not in _INCIDENTAL and default is not PydanticUndefined and value != _plain(default):
            found[key] = _plain(default)
    return found


def _find_default(defaults: Mapping[str, Any], key: str) -> Any:
    """Return a key's default; None for one below a key with a default, as the weight of a term or an option."""
    if key in defaults:
        return defaults[key]
    above = key.rpartition(".")[0]
    return None if above in defaults and defaults[above] is not PydanticUndefined else PydanticUndefined


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flatten(tree: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        here = (*at, str(name))
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, here)
        else:
            yield ".".join(here), value


def _list_defaults(model: type[BaseModel], at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        here = (*at, name)
        sections = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)]
        for section in sections:
            yield from _list_defaults(section, here)
        if not sections:
            yield ".".join(here), field.get_default(call_default_factory=True)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
