"""``student: runs/first``: start from the student of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropkd.config.yaml_text import parse_yaml

__all__ = ["take_student_of_run"]

_TAKEN = ("name", "options", "drop_path", "map_modules")


def take_student_of_run(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a configuration with the student's name, weights and input in place of a run folder.

    A bare word is a model's name, whatever folders there are: a folder is named with a slash in it.

    Args:
        tree: as the user gave it, perhaps wrong.
    """
    student = tree.get("student")
    name = student.get("name") if isinstance(student, Mapping) else None
    if not isinstance(student, Mapping) or not isinstance(name, str) or "/" not in name:
        return dict(tree)
    folder = Path(name)
    file, weights = folder / "config.yaml", folder / "student.safetensors"
    if not (file.is_file() and weights.is_file()):
        return dict(tree)
    earlier = parse_yaml(file.read_text(encoding="utf-8"))
    taken = {key: value for key, value in earlier.get("student", {}).items() if key in _TAKEN}
    given = {key: value for key, value in student.items() if key not in ("name", "pretrained", "checkpoint")}
    data = dict(tree["data"]) if isinstance(tree.get("data"), Mapping) else {}
    if data.get("image_size") is None:
        data["image_size"] = earlier.get("data", {}).get("image_size")
    given = {key: value for key, value in given.items() if value not in (None, {})}
    made = {**taken, **given, "pretrained": False, "checkpoint": weights}
    return {**tree, "student": made, "data": data}
