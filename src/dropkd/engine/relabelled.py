"""``relabelled.csv``: the training images that a method has given another class, for a person to look through."""

from __future__ import annotations

from pathlib import Path

from dropkd.data import Split
from dropkd.engine.journal import read_journal
from dropkd.files import write_csv

__all__ = ["write_relabelled"]

_HEADER = ("epoch", "path", "before", "after")


def write_relabelled(folder: Path, split: Split) -> dict[str, int] | None:
    """Write a run's changes of labels, in the order in which they came; without any, no file.

    Args:
        folder: the run folder, whose ``metrics.jsonl`` holds the changes of each epoch.
        split: the training images.

    Returns:
        The number of ``images`` that were relabelled, some perhaps more than once, and of all ``changes``; None
        without any. In the file, epochs are counted from 1, classes go by their names, and paths start at the data's
        root.
    """
    records = [record for record in read_journal(folder / "metrics.jsonl") if record["event"] == "relabel"]
    names = split.classes
    rows = [
        (record["epoch"] + 1, split.relative_paths[index], names[before], names[after])
        for record in records
        for index, before, after in zip(record["index"], record["before"], record["after"], strict=True)
    ]
    if not rows:
        return None
    write_csv(folder / "relabelled.csv", _HEADER, rows)
    return {"images": len({path for _, path, _, _ in rows}), "changes": len(rows)}
