"""Opens tables of the Hugging Face ``datasets`` library: a name on the hub, or a folder on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropkd.data.source import Source
from dropkd.data.wording import enumerate_some
from dropkd.errors import ConfigError, DataError

__all__ = ["is_saved_table", "open_tables"]

# The only split of what was saved without splits.
LONE = "all"
_FILES = {".parquet": "parquet", ".arrow": "arrow"}
# What ``save_to_disk`` writes for a table, and for several of them.
_TABLE, _TABLES = ("dataset_info.json", "state.json"), "dataset_dict.json"


def is_saved_table(folder: Path) -> bool:
    """Whether ``save_to_disk`` of ``datasets`` wrote this folder."""
    return (folder / _TABLES).is_file() or all((folder / name).is_file() for name in _TABLE)


def open_tables(source: Source) -> Mapping[str, Any]:
    """Return the tables of a data set by the names of their splits; one without splits is called ``all``.

    Nothing of a data set is executed: the oldest ``datasets`` that dropkd takes has no loading scripts any more.

    Raises:
        DataError: ``datasets`` is not installed, or the tables are not there, or damaged.
        ConfigError: the name is none.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{source.text!r} is opened by the package datasets, which is not installed. "
            'Install it: pip install "dropkd[datasets]"'
        ) from error
    if not source.place:
        raise ConfigError(f"{source.text!r}: name a data set of the hub or a folder after 'hf:'.")
    path = source.path
    try:
        if is_saved_table(path):
            tables = datasets.load_from_disk(str(path))
        elif path.is_file():
            tables = datasets.load_dataset(_choose_reader(source, path), data_files=str(path), split="train")
        elif path.is_dir():
            tables = datasets.load_dataset(str(path.absolute()), name=source.options.get("config"))
        else:
            name, config = _split_name(source)
            tables = datasets.load_dataset(name, name=config, revision=source.options.get("revision"))
    except (DataError, ConfigError):
        raise
    # A hub, a network, a cache and the files fail in many ways.
    except Exception as error:
        raise DataError(_explain(source, path, error)) from error
    return tables if isinstance(tables, Mapping) else {LONE: tables}


def _choose_reader(source: Source, path: Path) -> str:
    reader = _FILES.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{source.text!r}: a single file must be .parquet or .arrow, got {path.name!r}.")
    return reader


def _split_name(source: Source) -> tuple[str, str | None]:
    """Return the name on the hub and the configuration; a name has one or two parts, the configuration is the third."""
    parts, config = source.place.split("/"), source.options.get("config")
    if source.place.startswith((".", "/", "~")) or source.path.suffix.lower() in _FILES:
        raise DataError(f"{source.text!r}: there is no folder or file {str(source.path)!r}.")
    if not all(parts) or len(parts) > 3 or (len(parts) == 3 and config is not None):
        raise ConfigError(f"{source.text!r}: must look like hf:NAME, hf:OWNER/NAME or hf:OWNER/NAME/CONFIG.")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else config


def _explain(source: Source, path: Path, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:3]).rstrip(".") or type(error).__name__
    if path.exists():
        return (
            f"can't open {source.text!r} with datasets: {reason}. A folder must be one that save_to_disk wrote, or "
            "hold parquet, arrow or image files as data sets on the hub do."
        )
    import datasets
    from huggingface_hub import constants

    name = "/".join(source.place.split("/")[:2])
    tried = f"the hub ({constants.ENDPOINT}, datasets/{name})"
    if constants.HF_HUB_OFFLINE:
        tried = "no network, since HF_HUB_OFFLINE is set"
    return (
        f"can't get {source.text!r}: {reason}. Tried: {str(path)!r} here (no such folder), {tried}, and what was "
        f"downloaded before, in {os.fspath(datasets.config.HF_DATASETS_CACHE)!r}. Without a network: on a machine that "
        f"has one, run datasets.load_dataset({name!r}).save_to_disk('FOLDER') in Python, bring FOLDER here and name it "
        "in place of the hub's name. What was downloaded before is used without a network when HF_HUB_OFFLINE=1 is "
        "set. Sets that ask for consent need `hf auth login`."
    )


def describe_tables(tables: Mapping[str, Any]) -> str:
    """Return the splits and their numbers of rows, for messages."""
    return enumerate_some([f"{name} ({len(table):,})" for name, table in tables.items()], 10)
