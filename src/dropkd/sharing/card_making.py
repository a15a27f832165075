"""How a student was made, for its model card: method, teacher, budget, and the command without this machine's paths."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

from dropkd.config import Config
from dropkd.config.dotted import list_defaults, list_keys
from dropkd.errors import ConfigError
from dropkd.methods.registry import method_class
from dropkd.models.public_names import name_model, name_source
from dropkd.sharing.hiding import hide_path

__all__ = ["cite_methods", "rebuild_command"]

# Where things are, on which machine and who watches: no part of what was trained.
_OF_THE_MACHINE = (
    "data.path", "data.unlabelled", "data.workers", "data.packed", "data.packed_gb", "data.verify", "cache", "device",
    "threads", "output", "loggers", "baseline", "teacher_check", "training.checkpoint_minutes", "student.name",
    "student.checkpoint", "student.pretrained", "teacher.source", "teacher.label_map", "method.name",
)  # fmt: skip
# Columns of a command in a card.
_WIDTH = 120
_FLAGS = {
    "data.image_size": "--image-size",
    "training.epochs": "--epochs",
    "training.batch_size": "--batch-size",
    "training.lr": "--lr",
    "seed": "--seed",
}


def rebuild_command(config: Config) -> str:
    """Return the command that trains such a student again, with words in capitals for places on one's own machine.

    It is made from the whole configuration, so that what was decided by the data is in it too.
    """
    student = _name_student(config.student.name)
    words = ["dropkd", "distill" if config.teacher is not None else "train", "DATA"]
    if config.teacher is not None:
        words += ["--teacher", name_source(config.teacher.source), "--student", student]
        words += ["--method", config.method.name]
        words += ["--label-map", "LABEL_MAP"] if config.teacher.label_map is not None else []
    else:
        words += ["--model", student]
    if not config.student.pretrained and config.student.checkpoint is None:
        words.append("--no-pretrained")
    if config.student.checkpoint is not None:
        words += ["--set", "student.checkpoint=CHECKPOINT"]
    if config.data.unlabelled is not None:
        words += ["--unlabelled", "UNLABELLED"]
    defaults = dict(list_defaults(Config))
    for key, value in list_keys(config.model_dump(mode="json")):
        if value is None or value == {}:
            continue
        is_of_machine = any(key == hidden or key.startswith(f"{hidden}.") for hidden in _OF_THE_MACHINE)
        if is_of_machine or (key in defaults and defaults[key] == value and key not in _FLAGS):
            continue
        words += _write_setting(key, value)
    return _fold(words)


def cite_methods(name: str) -> list[str]:
    """Return the publications of a method, or of each in a combination, as its own documentation names them."""
    found = []
    for part in name.split("+"):
        try:
            text = inspect.getdoc(method_class(part.strip())) or ""
        except ConfigError:
            continue
        section = re.search(r"^References:\n((?: {4,}.*\n?|\n)+)", text, re.MULTILINE)
        if section is not None:
            found.append(" ".join(section.group(1).split()))
    return found


def _fold(words: Sequence[str]) -> str:
    """Return a command that can be pasted into a shell, an option a line once it is long."""
    lines = [""]
    for word in words:
        quoted = shlex.quote(word)
        if lines[-1] and word.startswith("--") and len(lines[-1]) + len(quoted) > _WIDTH - 40:
            lines.append(f"  {quoted}")
        else:
            lines[-1] += f" {quoted}" if lines[-1] else quoted
    return " \\\n".join(lines)


def _name_student(source: str) -> str:
    if source.startswith(("hf:", "clip:")):
        return name_source(source)
    return name_model(source)


def _write_setting(key: str, value: Any) -> list[str]:
    if key == "data.image_size" and isinstance(value, list):
        return ["--image-size", f"{value[0]}x{value[1]}"]
    if key in _FLAGS and value is not None:
        return [_FLAGS[key], str(value)]
    if isinstance(value, str):
        return ["--set", f"{key}={hide_path(value, key.rpartition('.')[2])}"]
    return ["--set", f"{key}={json.dumps(value)}"]
