"""Which rows of which table are for training, for validation and for the test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dropkd.data.listing import SPLIT_NAMES, SPLITS, WHOLE
from dropkd.data.source import Source
from dropkd.data.wording import enumerate_some
from dropkd.errors import ConfigError, DataError, did_you_mean

__all__ = ["choose_rows"]

# The table and the first and last row (excluded).
_Part = tuple[str, int, int]
_Parts = dict[str, list[_Part]]


def choose_rows(source: Source, sizes: Mapping[str, int]) -> tuple[dict[str, dict[str, NDArray[np.int64]]], list[str]]:
    """Return the rows of each split, by table, and what the user should know.

    Names tell the splits (train; val, valid, validation; test). The options ``train``, ``val`` and ``test`` name
    others, or parts of them such as ``train[:90%]``; ``split`` names the one that is cut in three, and a data set that
    has only one split is cut in three as well.

    Args:
        source: the data set with its options.
        sizes: the number of rows of each of its own splits.

    Raises:
        ConfigError: an option is no part of a split, or options contradict each other.
        DataError: there is no split that is known by its name.
    """
    given = {name: source.options[name] for name in SPLITS if name in source.options}
    lone = source.options.get("split")
    if lone is not None and given:
        raise ConfigError(f"{source.text!r}: 'split' names the only split; leave it out beside {', '.join(given)}.")
    if lone is not None or (len(sizes) == 1 and not given):
        parts = {WHOLE: _read_part(source, sizes, lone) if lone is not None else [_whole(sizes, next(iter(sizes)))]}
        return {name: _collect(part) for name, part in parts.items()}, []
    parts, notes = _map_names(source, sizes, given)
    rows = {name: _collect(parts[name]) for name in SPLITS if name in parts}
    _check_apart(source, rows)
    return rows, notes


def _map_names(source: Source, sizes: Mapping[str, int], given: Mapping[str, str]) -> tuple[_Parts, list[str]]:
    parts = {name: _read_part(source, sizes, text) for name, text in given.items()}
    used = {own for part in parts.values() for own, _, _ in part}
    taken: dict[str, str] = {}
    ignored: list[str] = []
    for own in sizes:
        name = SPLIT_NAMES.get(own.lower())
        if own in used:
            continue
        if name is None or name in given:
            ignored.append(own)
        elif name in taken:
            raise DataError(
                f"{source.text!r} has two splits for {name}: {taken[name]!r} and {own!r}. Choose one: ?{name}={own}"
            )
        else:
            taken[name] = own
            parts[name] = [_whole(sizes, own)]
    if "train" not in parts:
        raise DataError(
            f"{source.text!r} has no split that is called train. It has: {enumerate_some(list(sizes), 10)}. "
            f"Name them: ?train={next(iter(sizes))}&test=..., or ?split={next(iter(sizes))} to have one cut."
        )
    return parts, [f"ignored splits: {enumerate_some(ignored, 5)}"] if ignored else []


def _whole(sizes: Mapping[str, int], name: str) -> _Part:
    return name, 0, sizes[name]


def _read_part(source: Source, sizes: Mapping[str, int], text: str) -> list[_Part]:
    """Read ``train``, ``train[:90%]``, ``train[100:200]`` or a sum of such, as ``datasets`` writes them."""
    import datasets

    own = [piece.partition("[")[0].strip() for piece in text.split("+")]
    unknown = [name for name in own if name not in sizes and name != "all"]
    if unknown:
        raise ConfigError(
            f"{source.text!r}: there is no split {unknown[0]!r}. There are: {enumerate_some(list(sizes), 20)}."
            f"{did_you_mean(unknown[0], sizes)}"
        )
    try:
        found = datasets.ReadInstruction.from_spec(text).to_absolute(dict(sizes))
    except (ValueError, AssertionError) as error:
        raise ConfigError(
            f"{source.text!r}: a part of a split looks like train[:90%] or train[100:200], got {text!r} ({error})."
        ) from error
    return [(part.splitname, part.from_, part.to) for part in found]


def _collect(parts: list[_Part]) -> dict[str, NDArray[np.int64]]:
    rows: dict[str, list[NDArray[np.int64]]] = {}
    for own, start, stop in parts:
        rows.setdefault(own, []).append(np.arange(start, stop))
    return {own: np.unique(np.concatenate(pieces)) for own, pieces in rows.items()}


def _check_apart(source: Source, rows: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> None:
    """Make sure that no row is in two splits."""
    for k, first in enumerate(rows):
        for second in list(rows)[k + 1 :]:
            for own in rows[first].keys() & rows[second].keys():
                shared = np.intersect1d(rows[first][own], rows[second][own])
                if len(shared):
                    raise ConfigError(
                        f"{source.text!r}: {len(shared):,} rows of {own!r} are both in {first} and in {second}; "
                        "images that are trained on, or that pick the epoch, can't measure the result."
                    )
