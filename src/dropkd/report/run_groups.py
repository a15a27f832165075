"""The run folders in the folder of a group."""

from __future__ import annotations

from pathlib import Path

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, RunError

__all__ = ["list_run_folders"]


def list_run_folders(folder: Path) -> list[Path]:
    """Return the folders of a group's runs that were started; any other folder is taken for that of one run.

    Raises:
        RunError: no run of the group was started, or its list of runs is damaged.
    """
    listed = folder / "group.yaml"
    if not listed.is_file():
        return [folder]
    try:
        names = list(parse_yaml(listed.read_text(encoding="utf-8"))["runs"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"The list of runs {str(listed)!r} is damaged: {error}") from error
    found = [folder / str(name) for name in names if (folder / str(name) / "config.yaml").is_file()]
    if not found:
        raise RunError(f"No run of the group {str(folder)!r} was started yet. Go on with: dropkd resume {folder}")
    return found
