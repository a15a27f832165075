"""What trying a method told, kept beside the caches: a run that finds its cache need not ask the teacher for that."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import dropkd
from dropkd import functional, methods
from dropkd.engine.cache_parts import Trial
from dropkd.engine.job import Job
from dropkd.files import write_text
from dropkd.teacher_cache import CacheKey, Part
from dropkd.teacher_cache.keeping import TRIALS

__all__ = ["keep_trial", "name_trial", "recall_trial"]


def name_trial(job: Job, teacher: Mapping[str, Any], root: Path) -> Path:
    """Return the file for all that decides what a method reads of a teacher, and what that teacher takes here.

    Args:
        job: the run.
        teacher: the fields of a cache's key that are the teacher's.
        root: folder of all caches.
    """
    config, distiller = job.config, job.distiller
    key = CacheKey(
        {
            **teacher,
            "each": config.teacher is not None and config.teacher.each,
            "maps": None if config.teacher is None else config.teacher.map_modules,
            "method": [config.method.name, {key: repr(value) for key, value in config.method.options.items()}],
            "method_programs": _hash_programs(type(distiller.method)),
            "student": json.loads(json.dumps(asdict(distiller.student.shapes))),
            "view": list(job.view_size),
            "kept_as": [config.cache.number, config.cache.channels, config.cache.top_logits],
            "machine": [platform.node(), dropkd.__version__],
        }
    )
    return root / TRIALS / f"{key.digest[:20]}.json"


def recall_trial(path: Path) -> Trial | None:
    """Return what was kept, or None where nothing was or it can't be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = tuple(Part.from_dict(part) for part in found["parts"])
        return Trial(parts, float(found["macs"]), float(found["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_trial(path: Path, trial: Trial) -> None:
    """Keep it where there are caches; where nothing can be written, nothing happens."""
    if not path.parent.parent.is_dir() or recall_trial(path) is not None:
        return
    values = {"parts": [part.to_dict() for part in trial.parts], "macs": trial.macs, "seconds": trial.seconds}
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(values) + "\n")


def _hash_programs(method: type) -> str:
    """Return a hash of the programs that decide what a method reads: dropkd's own, and where its class is from."""
    own = inspect.getsourcefile(method)
    return _hash_files(own)


@cache
def _hash_files(own: str | None) -> str:
    folders = [Path(package.__file__ or "").parent for package in (functional, methods)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    if own is not None:
        files.append(Path(own))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
