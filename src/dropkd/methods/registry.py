"""Find methods by name: the files of this package, and the entry points of others."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import dropkd.methods
from dropkd.contracts import Pair
from dropkd.errors import ConfigError, did_you_mean
from dropkd.methods.combination import combine
from dropkd.methods.method import Method
from dropkd.methods.options import Option, check_options, list_options
from dropkd.methods.per_teacher import per_teacher

__all__ = ["build_method", "check_method_options", "load_methods", "method_class", "method_names", "method_options"]

_GROUP = "dropkd.methods"


def method_names() -> list[str]:
    """Return the names of all methods in alphabetical order, those of installed packages among them."""
    own = {module.name for module in pkgutil.iter_modules(dropkd.methods.__path__) if _find_class(module.name)}
    return sorted(own | set(_list_entry_points()))


def method_class(name: str) -> type[Method]:
    """Return the class of a method.

    Args:
        name: the name of its file in this package, or of an entry point in the group ``dropkd.methods``.
            Where both exist, this package's own is meant. Several names joined by ``+``, as in ``kd+at``, stand for
            their combination.

    Raises:
        ConfigError: there is no such method, an entry point does not lead to one, or one is combined with itself.
    """
    if "+" in name:
        names = [part.strip() for part in name.split("+")]
        if len(set(names)) < len(names):
            raise ConfigError(f"method {name!r} names one method twice; raise its weights instead.")
        return combine({part: method_class(part) for part in names})
    own = {module.name for module in pkgutil.iter_modules(dropkd.methods.__path__)}
    if name in own and (found := _find_class(name)):
        return found
    others = _list_entry_points()
    if name in others:
        return _load_entry_point(others[name])
    known = method_names()
    raise ConfigError(f"unknown method {name!r}.{did_you_mean(name, known)} Known methods: {', '.join(known)}.")


def load_methods() -> tuple[dict[str, type[Method]], list[str]]:
    """Return all methods by name, and in words why others can't be used that installed packages announce."""
    found, problems = {}, []
    for name in method_names():
        try:
            found[name] = method_class(name)
        except ConfigError as error:
            problems.append(str(error))
    return found, problems


def method_options(cls: type[Method]) -> dict[str, Option]:
    """Return the options of a method by name, with type, default, range and description."""
    return list_options(cls)


def build_method(name: str, pair: Pair, options: Mapping[str, Any] | None = None) -> Method:
    """Build a method for a pair of networks.

    Args:
        name: see :func:`method_class`.
        pair: the shapes of student and teacher; with ``members`` the method gets terms for each of them.
        options: values for the keyword-only arguments of its constructor; the others keep their defaults.

    Raises:
        ConfigError: an unknown method or option, a wrong type, a value out of range, a missing teacher.
        ModelError: the networks' maps do not fit the method.
    """
    cls, checked = method_class(name), check_method_options(name, options or {})
    if pair.members:
        return per_teacher(cls, len(pair.members))(pair, options=checked)
    return cls(pair, **checked)


def check_method_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a method, checked, as keyword arguments of its constructor.

    Raises:
        ConfigError: an unknown method, or a line for each mistake in the options; where an option belongs to other
            methods, the line names them.
    """
    cls = method_class(name)
    try:
        return check_options(cls, name, options)
    except ConfigError as error:
        raise ConfigError("\n".join(_name_owners(line) for line in str(error).splitlines())) from error


def _name_owners(line: str) -> str:
    """Return a line about an unknown option with the methods that do have it."""
    unknown = re.match(r"unknown key 'method\.(?:\w+\.)?(\w+)'", line)
    if unknown is None or "Did you mean" in line:
        return line
    owners = [name for name, cls in load_methods()[0].items() if unknown.group(1) in list_options(cls)]
    return f"{line} It is an option of {', '.join(owners)}." if owners else line


def _find_class(module_name: str) -> type[Method] | None:
    """Return the method that a file of this package defines: the class with the file's name, or None."""
    module = importlib.import_module(f"{dropkd.methods.__name__}.{module_name}")
    for value in vars(module).values():
        is_method = isinstance(value, type) and issubclass(value, Method) and value is not Method
        if is_method and value.__name__.lower() == module_name:
            found: type[Method] = value
            return found
    return None


def _list_entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}


def _load_entry_point(point: EntryPoint) -> type[Method]:
    try:
        found = point.load()
    except Exception as error:  # another package may do anything when it is imported
        what = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"method {point.name!r} is announced as {point.value!r}, but: {what}.") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"method {point.name!r} leads to {point.value!r}, which is not a Method class.")
    try:
        list_options(found)
    except (TypeError, NameError) as error:
        raise ConfigError(f"the options of method {point.name!r} ({point.value!r}) can't be read: {error}") from error
    return found
