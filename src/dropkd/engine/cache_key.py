"""What a teacher's answers depend on, whatever it is asked about."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dropkd.data.jpegs import DECODING
from dropkd.engine.job import Job
from dropkd.engine.weights import hash_weights
from dropkd.models import Network
from dropkd.models.source_lists import split_sources
from dropkd.models.teachers.logits_only import CalledTeacher

__all__ = ["can_be_kept", "describe_teacher"]

# What decides a number of the teacher's or a pixel of a view.
_LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")
# The same of libraries that only some teachers come from, by the package of their modules.
_FOREIGN = {"transformers": "transformers", "open_clip": "open_clip_torch"}
# What of a teacher's specification says how it is shown an image.
_SHOWN = ("image_size", "mean", "std", "interpolation", "crop_fraction")


def can_be_kept(teacher: Network) -> bool:
    """Tell whether a teacher's answers can be kept: nobody can tell whether a function is the one that it was."""
    return not any(isinstance(module, CalledTeacher) for module in teacher.modules())


def describe_teacher(job: Job, teacher: Network, precision: str) -> dict[str, Any]:
    """Return the fields of a cache's key that are the same for all that a teacher is asked about.

    Args:
        job: the run; its group hashes the weights once.
        teacher: its teacher.
        precision: that it computes in.
    """
    spec = teacher.spec.to_dict()
    preprocessing = {name: spec.pop(name) for name in _SHOWN}
    return {
        "teacher": {
            "weights": job.shared.remember(("weights", id(teacher)), lambda: hash_weights(teacher)),
            "model": spec,
            "programs": _hash_programs(job),
        },
        "preprocessing": preprocessing,
        "decoding": DECODING,
        "precision": {"training": precision, "device": job.fabric.device.type},
        "libraries": {name: version(name) for name in (*_LIBRARIES, *_find_foreign(teacher))},
    }


def _find_foreign(teacher: Network) -> list[str]:
    packages = {type(module).__module__.partition(".")[0] for module in teacher.modules()}
    return sorted(_FOREIGN[package] for package in packages & _FOREIGN.keys())


def _hash_programs(job: Job) -> list[str]:
    """Return hashes of the teacher's files, which may be programs that weights don't tell everything of."""
    if job.config.teacher is None:
        return []
    files = (Path(source) for source in split_sources(job.config.teacher.source))
    return [_hash_file(job, file) for file in files if file.is_file()]


def _hash_file(job: Job, path: Path) -> str:
    def compute() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    found = path.stat()
    return job.shared.remember(("file", path.absolute(), found.st_size, found.st_mtime_ns), compute)
