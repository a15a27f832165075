"""What a configuration was asked for that it would not have had by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticUndefined

from dropkd.config import Config
from dropkd.config.dotted import list_defaults, list_keys
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
    defaults = dict(list_defaults(Config))
    options = method_options(method_class(config.method.name))
    defaults |= {f"method.{name}": option.default for name, option in options.items()}
    asked = dict(list_keys(config.model_dump(mode="json")))
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
