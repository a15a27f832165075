"""A configuration file with those that it starts from: ``extends: base.yaml``."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["EXTENDS", "read_chain"]

# The key that names them; it is no setting, so what is dumped does not have it.
EXTENDS = "extends"


def read_chain(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return what a file and those that it extends say, the file itself last.

    ``extends`` is a file or a list of files, named from the folder of the file that names them. A later file wins
    over an earlier one and the file itself over all; a file that is named twice counts at its first place, so that
    two files of one base do not undo each other's settings.

    Raises:
        ConfigError: a file is not there, is no group of keys, or extends itself.
    """
    chain: dict[Path, tuple[Path, dict[str, Any]]] = {}
    _add(path, (), chain)
    return list(chain.values())


def _add(path: Path, below: tuple[Path, ...], chain: dict[Path, tuple[Path, dict[str, Any]]]) -> None:
    """Put a file into the chain, after those that it extends.

    Args:
        path: the file.
        below: the files that led to it, the first one first.
        chain: what has been read, by the files' real places.
    """
    if any(path.resolve() == file.resolve() for file in below):
        circle = " extends ".join(str(file) for file in (*below, path))
        raise ConfigError(f"{below[-1]}: a file can't extend itself: {circle}")
    if path.resolve() in chain:
        return
    tree = _read_file(path)
    for base in _find_bases(path, tree.pop(EXTENDS, None)):
        _add(base, (*below, path), chain)
    chain[path.resolve()] = (path, tree)


def _find_bases(path: Path, named: Any) -> Iterator[Path]:
    """Return the files that a file extends."""
    names = named if isinstance(named, list) else [] if named is None else [named]
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f"{path}: 'extends' must be a file, as in 'extends: base.yaml', or a list of files, got {named!r}"
            )
        # Without the dots, for messages; what a link in between would make of them is not what a reader expects.
        base = Path(os.path.normpath(path.parent / Path(name).expanduser()))
        if not base.is_file():
            raise ConfigError(f"{path}: extends {name!r}, but there is no file {str(base)!r}.{_suggest(base)}")
        yield base


def _suggest(file: Path) -> str:
    return did_you_mean(file.name, [near.name for near in file.parent.glob("*.y*ml")])


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: this is a folder; a YAML file is wanted") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read as text ({error})") from None
    try:
        tree = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys such as 'student: resnet18', got {tree!r}")
    return tree
