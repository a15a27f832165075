"""Predictions as a table on the terminal, or as a CSV, JSON or parquet file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropkd.cli.console import output
from dropkd.cli.tables import add_row, make_table, say_percent
from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.errors import DataError, RunError
from dropkd.files import replacing, write_csv, write_text

if TYPE_CHECKING:
    from dropkd.prediction import Prediction

__all__ = ["check_format", "find_images", "print_predictions", "write_predictions"]

_SUFFIXES = (".csv", ".json", ".parquet")


def check_format(path: Path) -> None:
    """Make sure that a file of predictions can be written, before anything is computed.

    Raises:
        RunError: no known suffix, or no folder to write into.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise RunError(f"--output {path}: the name must end in one of {', '.join(_SUFFIXES)}, got {path.suffix!r}")
    if path.is_dir():
        raise RunError(f"--output {path}: a folder of this name is in the way")
    if not path.parent.is_dir():
        raise RunError(f"--output {path}: there is no folder {str(path.parent)!r}; create it first")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return the given image files, and the images in given folders, however deep.

    Raises:
        DataError: a folder without images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        if not inside:
            raise DataError(f"There is no image in the folder {str(path)!r}.")
        found += inside
    return found


def print_predictions(predictions: Sequence[Prediction]) -> None:
    """Print each image's class, how sure the network is, and what else it might be."""
    if any(prediction.labels is not None for prediction in predictions):
        _print_label_sets(predictions)
        return
    table = make_table("image", "class", "probability", "or else", figures=False)
    for prediction in predictions:
        others = ", ".join(f"{label} {say_percent(p)}" for label, p in prediction.top[1:3])
        add_row(table, prediction.path, prediction.label, say_percent(prediction.probability), others)
    output.print(table)


def _print_label_sets(predictions: Sequence[Prediction]) -> None:
    table = make_table("image", "labels", "next", figures=False)
    for prediction in predictions:
        labels = prediction.labels or ()
        shares = [f"{label} {say_percent(p)}" for label, p in prediction.top]
        named, others = shares[: len(labels)], shares[len(labels) : len(labels) + 2]
        add_row(table, prediction.path, ", ".join(named) or "none", ", ".join(others))
    output.print(table)


def write_predictions(predictions: Sequence[Prediction], path: Path) -> None:
    """Write predictions in the format that the file's suffix names; the file is whole or not there.

    Raises:
        RunError: an unknown suffix, or a place that can't be written.
    """
    check_format(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        rows = [_make_record(prediction) for prediction in predictions]
        write_text(path, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    elif suffix == ".csv":
        _write_csv(predictions, path)
    else:
        _write_parquet(predictions, path)


def _make_record(prediction: Prediction) -> dict[str, Any]:
    labels = {} if prediction.labels is None else {"labels": list(prediction.labels)}
    return {
        "path": str(prediction.path),
        **labels,
        "label": prediction.label,
        "probability": prediction.probability,
        "top": [{"label": label, "probability": probability} for label, probability in prediction.top],
    }


def _write_csv(predictions: Sequence[Prediction], path: Path) -> None:
    others = max((len(prediction.top) for prediction in predictions), default=1) - 1
    ranks = range(2, others + 2)
    several = any(prediction.labels is not None for prediction in predictions)
    header = [
        "path",
        *(["labels"] if several else []),
        "label",
        "probability",
        *(f"{name}_{n}" for n in ranks for name in ("label", "probability")),
    ]
    rows = []
    for prediction in predictions:
        rest = [cell for label, p in prediction.top[1:] for cell in (label, f"{p:.6f}")]
        labels = [";".join(prediction.labels or ())] if several else []
        rows.append([str(prediction.path), *labels, prediction.label, f"{prediction.probability:.6f}", *rest])
    write_csv(path, header, rows)


def _write_parquet(predictions: Sequence[Prediction], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ranked = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
    several = any(prediction.labels is not None for prediction in predictions)
    labels = [("labels", pa.list_(pa.string()))] if several else []
    schema = pa.schema(
        [("path", pa.string()), *labels, ("label", pa.string()), ("probability", pa.float64()), ("top", ranked)]
    )
    table = pa.Table.from_pylist([_make_record(prediction) for prediction in predictions], schema=schema)
    with replacing(path) as partial:
        pq.write_table(table, partial)
