"""Which formats are asked for, and where their files go; everything that can be refused before any work is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dropkd.errors import ConfigError, RunError, did_you_mean
from dropkd.export.formats import FORMATS, Format, FormatOptions

__all__ = ["check_formats", "choose_places"]


def check_formats(names: Sequence[str], options: FormatOptions, *, unchecked: bool) -> list[Format]:
    """Return the formats of these names, each once, in their order.

    Args:
        names: as the user gives them.
        options: what is asked of them.
        unchecked: formats that can't be run on this machine are wanted too.

    Raises:
        ConfigError: a name is unknown, a library is missing, an option fits no format, or a file could not be
            compared with the network here.
    """
    kinds = []
    for name in dict.fromkeys(names):
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}. There are: {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
        kinds.append(FORMATS[name])
    if not kinds:
        raise ConfigError(f"No format was asked for. There are: {', '.join(FORMATS)}.")
    if options.opset is not None and not {"onnx", "web"} & set(names):
        raise ConfigError(f"--opset is of ONNX alone; {', '.join(names)} knows no such thing.")
    for kind in kinds:
        kind.check(options)
        reason = kind.say_why_not_run()
        if reason is not None and not unchecked:
            raise ConfigError(
                f"A {kind.name} file can't be compared with the network here: {reason}. Export it where it runs, or "
                "say --unchecked and compare its answers yourself before anyone relies on them."
            )
    return kinds


def choose_places(kinds: Sequence[Format], output: str | Path | None, run: Path) -> list[Path]:
    """Return where the file of each format goes, all in one folder.

    Args:
        kinds: the formats.
        output: a folder, or, of one format, a file; None: the run folder.
        run: the run folder.

    Raises:
        ConfigError: a file's name ends otherwise than its format's, or is given for several formats.
        RunError: a folder that is no earlier export stands in the way.
    """
    target = run if output is None else Path(output)
    one = kinds[0] if len(kinds) == 1 else None
    if output is not None and one is not None and (target.name.endswith(one.suffix) or _can_become(target, one)):
        places = [target]
    elif target.is_dir() or target.suffix == "":
        places = [target / f"student{kind.suffix}" for kind in kinds]
    elif one is None:
        raise ConfigError(
            f"{len(kinds)} formats are asked for and one file, {str(target)!r}. Give a folder: --output FOLDER."
        )
    else:
        raise ConfigError(f"A file of the format {one.name!r} ends in {one.suffix}, got {str(target)!r}.")
    for place in places:
        if place.is_dir() and not place.with_name(f"{place.name}.json").is_file():
            raise RunError(
                f"Can't write {str(place)!r}: a folder of that name is there, and it is no earlier export. Remove it, "
                "or give another --output."
            )
    return places


def _can_become(target: Path, kind: Format) -> bool:
    """Tell whether a folder of this name can be a format's own: it is new, or an earlier export of the format."""
    if not kind.is_folder:
        return False
    if not target.exists():
        return True
    try:
        facts = json.loads(target.with_name(f"{target.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return target.is_dir() and isinstance(facts, dict) and facts.get("format") == kind.name
