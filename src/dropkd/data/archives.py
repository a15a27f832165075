"""Archives that were given, or left, in place of what is in them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["advise_unpacking", "is_archive"]

# What the name of an archive ends in, and what unpacks it into a folder of choice.
_COMMANDS = {
    ".zip": "unzip {file} -d {folder}",
    ".tar.gz": "tar -xf {file} -C {folder}",
    ".tgz": "tar -xf {file} -C {folder}",
    ".tar.bz2": "tar -xf {file} -C {folder}",
    ".tar.xz": "tar -xf {file} -C {folder}",
    ".7z": "7z x {file} -o{folder}",
    ".rar": "unrar x {file} {folder}/",
}


def is_archive(path: Path) -> bool:
    """Return whether a file's name is that of a packed archive; plain .tar files may be shards of images."""
    return path.name.lower().endswith(tuple(_COMMANDS))


def advise_unpacking(place: Path) -> str:
    """Return how to unpack a file, or the archives that lie in a folder, as a sentence; empty where there are none.

    Example:
        >>> advise_unpacking(Path("sets/raf-db.zip"))
        ''
    """
    if place.is_file():
        files = [place] if is_archive(place) else []
    else:
        files = sorted(file for file in place.glob("*") if is_archive(file) and file.is_file())
    if not files:
        return ""
    more = f", and {len(files) - 1} more" if len(files) > 1 else ""
    return f"To unpack {files[0].name!r}{more}: {_command(files[0])}"


def _command(file: Path) -> str:
    ending = next(ending for ending in _COMMANDS if file.name.lower().endswith(ending))
    return _COMMANDS[ending].format(file=_quote(str(file)), folder=_quote(str(file.parent)))


def _quote(text: str) -> str:
    return f"'{text}'" if " " in text else text
