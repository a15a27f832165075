"""Reads the files of a run folder one by one; what is missing or unreadable becomes a sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dropkd.config.yaml_text import parse_yaml
from dropkd.errors import ConfigError, RunError
from dropkd.report.label_sets import LabelSets, holds_label_sets, read_label_sets
from dropkd.report.predictions import Predictions, read_predictions

__all__ = ["descend", "keep_fitting", "list_classes", "read_answers", "read_config", "read_json", "read_stored_classes"]

_Answered = TypeVar("_Answered", Predictions, LabelSets)

# A safetensors header is a few kilobytes; a larger one is not worth reading for the names of the classes.
_LARGEST_HEADER = 16 * 2**20


def read_config(path: Path, gaps: list[str]) -> Mapping[str, Any]:
    """Return ``config.yaml`` as a tree; what is wrong with it becomes a gap, and the tree is empty."""
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        gaps.append("config.yaml is missing: the configuration is not shown.")
        return {}
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        gaps.append(f"config.yaml can't be read ({error}).")
        return {}
    return tree if isinstance(tree, dict) else {}


def read_json(path: Path, gaps: list[str], holds: str) -> Mapping[str, Any]:
    """Return a JSON file as a tree; what is wrong with it becomes a gap, and the tree is empty.

    Args:
        path: the file.
        gaps: sentences on what is missing, which grow.
        holds: what is in the file, in words.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        gaps.append(f"{path.name} is not there: {holds} are missing.")
        return {}
    except (OSError, ValueError) as error:
        gaps.append(f"{path.name} can't be read ({error}).")
        return {}
    return tree if isinstance(tree, dict) else {}


def read_answers(path: Path, gaps: list[str]) -> tuple[Mapping[str, Predictions], Mapping[str, LabelSets]]:
    """Return the answers by split: of one class an image, and of several labels; one of the two is empty."""
    if not path.is_file():
        gaps.append(
            "predictions.parquet is not there: no paired comparison, confusion matrix, classes or sample images."
        )
        return {}, {}
    try:
        return ({}, read_label_sets(path)) if holds_label_sets(path) else (read_predictions(path), {})
    except RunError as error:
        gaps.append(str(error))
        return {}, {}


def descend(tree: Any, keys: tuple[str, ...]) -> Any:
    """Return what stands in a tree under these keys, or None."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def keep_fitting(
    answers: Mapping[str, _Answered],
    num_classes: Mapping[str, int],
    metrics: Mapping[str, Any],
    classes: tuple[str, ...] | None,
    gaps: list[str],
) -> dict[str, _Answered]:
    """Return the answers that can be those of the run; of others, as of another data set, only a gap tells.

    Args:
        answers: by split.
        num_classes: how many classes they know of, by split.
        metrics: ``metrics.json``, which says how many images a split has.
        classes: the run's own, or None where it does not name them.
        gaps: sentences on what is missing, which grow.
    """
    kept = {}
    for split, found in answers.items():
        images = descend(metrics, ("splits", split, "images"))
        opening = f"predictions.parquet holds the answers to other images than this run\u2019s {split} images"
        if isinstance(images, int) and images != len(found.paths):
            gaps.append(f"{opening}: {len(found.paths):,} instead of {images:,}. Nothing is shown of them.")
        elif classes is not None and num_classes[split] > len(classes):
            gaps.append(
                f"{opening}: {num_classes[split]:,} classes instead of {len(classes):,}. Nothing is shown of them."
            )
        else:
            kept[split] = found
    return kept


def list_classes(metrics: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the classes that ``metrics.json`` tells, or None."""
    classes = metrics.get("classes")
    return tuple(str(name) for name in classes) if isinstance(classes, list) and classes else None


def read_stored_classes(path: Path) -> tuple[str, ...] | None:
    """Return the names of the classes that ``student.safetensors`` carries; its tensors are not read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _LARGEST_HEADER else {}
        classes = json.loads(header["__metadata__"]["dropkd"])["classes"]
    except (OSError, struct.error, ValueError, KeyError, TypeError):
        return None
    return tuple(str(name) for name in classes) if classes else None
