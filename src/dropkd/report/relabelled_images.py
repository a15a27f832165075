"""Training images that were given another class, as ``relabelled.csv`` names them."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dropkd.report.run_record import RunRecord
from dropkd.report.samples import Picture, embed_picture

__all__ = ["RelabelCard", "choose_relabelled"]

_MOST_CARDS = 12


@dataclass(frozen=True)
class RelabelCard:
    """An image with the class that it came with, the one that it was given last, and the epoch of that change."""

    picture: Picture
    before: str
    after: str
    epoch: str
    path: str


def choose_relabelled(run: RunRecord) -> list[RelabelCard]:
    """Return up to twelve images, of many kinds of change: the commonest kind first, in turns.

    An image that ended with the class that it came with is left out. A run that has not ended has no such file yet,
    and its pictures are not shown.
    """
    kinds: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for path, (before, after, epoch) in _read_changes(run.folder / "relabelled.csv").items():
        if before != after:
            kinds[before, after].append((path, epoch))
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    turns = [
        (kind, found[turn]) for turn in range(_MOST_CARDS) for kind, found in ordered[:_MOST_CARDS] if turn < len(found)
    ]
    return [
        RelabelCard(embed_picture(run.pictures, path), before, after, epoch, path)
        for (before, after), (path, epoch) in turns[:_MOST_CARDS]
    ]


def _read_changes(path: Path) -> dict[str, tuple[str, str, str]]:
    """Return by image the class that it came with, the last one that it was given, and the epoch of that."""
    found: dict[str, tuple[str, str, str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                first = found.get(row["path"], (row["before"],))[0]
                found[row["path"]] = (first, row["after"], row["epoch"])
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError):
        return {}
    return found
