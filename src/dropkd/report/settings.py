"""The configuration of a run as a table, what differs from the defaults, and how to repeat the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dropkd.config import Config
from dropkd.config.dotted import list_keys
from dropkd.report.run_record import RunRecord

__all__ = [
    "Setting",
    "again_command",
    "differing_settings",
    "list_environment",
    "list_settings",
    "repeat_command",
    "setting_values",
]

_UNSET = "\u2013"
_LEFT_OPEN = "what dropkd would have chosen"
_NOT_SHOWN = frozenset({"command", "schema", "departures"})


@dataclass(frozen=True)
class Setting:
    """A key of the configuration, its value, and what it departs from in words (empty where it does not)."""

    key: str
    value: str
    default: str


def list_settings(config: Mapping[str, Any], departures: Mapping[str, Any] | None = None) -> list[Setting]:
    """Return all keys, dotted, in their order.

    Args:
        config: the resolved configuration.
        departures: what the run was asked for beside the defaults, as ``environment.json`` has it; None for a run that
            does not say: then only values that differ from a fixed default count, and not those that dropkd may have
            chosen by the data.
    """
    if departures is not None:
        return [Setting(key, _write(value), _tell_default(key, departures)) for key, value in list_keys(config)]
    defaults = dict(_flatten_defaults(Config, ()))
    rows = []
    for key, value in list_keys(config):
        default = defaults.get(key)
        departs = default not in (None, "auto") and value != default
        rows.append(Setting(key, _write(value), _write(default) if departs else ""))
    return rows


def _tell_default(key: str, departures: Mapping[str, Any]) -> str:
    if key not in departures:
        return ""
    return _LEFT_OPEN if departures[key] in (None, "auto") else _write(departures[key])


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the keys whose values are not the same in all configurations, with each configuration's value.

    The place of the run folder is no difference.
    """
    trees = [setting_values(config) for config in configs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    rows = [(key, tuple(tree.get(key, _UNSET) for tree in trees)) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1 and key != "output"]


def setting_values(config: Mapping[str, Any]) -> dict[str, str]:
    """Return each value as text, by its dotted key."""
    return {key: _write(value) for key, value in list_keys(config)}


def list_environment(run: RunRecord) -> list[tuple[str, str]]:
    """Return what the environment file says, without the command; and the facts that identify the run."""
    rows = [(str(name), _write(value)) for name, value in run.environment.items() if name not in _NOT_SHOWN]
    facts = {
        "test images (SHA-256)": run.figure_text("test_sha256"),
        "student\u2019s first weights (SHA-256)": run.figure_text("student", "initial_weights_sha256"),
    }
    return rows + [(name, value) for name, value in facts.items() if value]


def repeat_command(run: RunRecord) -> str | None:
    """Return the command that made the run, as it can be pasted into a shell, or None where it is not known."""
    command = run.environment.get("command")
    if not isinstance(command, list) or not command:
        return None
    first, *rest = (str(part) for part in command)
    return shlex.join([PurePath(first).name, *rest])


def again_command(run: RunRecord) -> str | None:
    """Return the command that trains the same again by the run's configuration, into a folder beside it.

    None where the configuration does not say what was trained on what.
    """
    if run.setting("data", "path") is None or run.setting("student", "name") is None:
        return None
    verb = "train" if run.teacher_name is None else "distill"
    config, output = str(run.folder / "config.yaml"), f"{run.folder}-again"
    return shlex.join(["dropkd", verb, "--config", config, "--output", output])


def _flatten_defaults(model: type[BaseModel], at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        here = (*at, name)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _flatten_defaults(kind, here)
        else:
            value = field.get_default(call_default_factory=True)
            yield ".".join(here), None if value is PydanticUndefined else value


def _write(value: Any) -> str:
    if value is None:
        return _UNSET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_write(v) for v in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_write(v)}" for k, v in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
