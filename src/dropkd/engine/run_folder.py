"""A run's folder: where it is, whether it is free, and its first two files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypeVar

from dropkd.config import Config, dump_config
from dropkd.data import absolute_source
from dropkd.engine.job import Job
from dropkd.engine.outcome import describe_environment, write_json
from dropkd.errors import RunError
from dropkd.files import writable_folder, write_text
from dropkd.models.source_lists import absolute_sources

__all__ = ["check_free", "claim_folder", "free_folder", "with_absolute_paths"]

_Config = TypeVar("_Config", bound=Config)


def with_absolute_paths(config: _Config) -> _Config:
    """Return the configuration with paths that mean the same from any working folder, since a run is resumed later."""
    places = {"path": config.data.path, "unlabelled": config.data.unlabelled}
    named = {key: absolute_source(place) for key, place in places.items() if place is not None}
    data = config.data.model_copy(update=named)
    student, teacher = config.student, config.teacher
    student = student.model_copy(update={"name": absolute_sources(student.name)})
    if student.checkpoint is not None:
        student = student.model_copy(update={"checkpoint": student.checkpoint.absolute()})
    if teacher is not None and teacher.label_map is not None:
        teacher = teacher.model_copy(update={"label_map": teacher.label_map.absolute()})
    if teacher is not None:
        teacher = teacher.model_copy(update={"source": absolute_sources(teacher.source)})
    return config.model_copy(update={"data": data, "student": student, "teacher": teacher})


def free_folder(config: Config) -> Path:
    """Return the next folder under ``runs/`` that is not there yet."""
    stem = f"{config.method.name}-{config.student.name.replace('/', '-')}-seed{config.seed}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder


def check_free(folder: Path, overwrite: bool) -> None:
    """Make sure that a run may be written to a folder.

    Raises:
        RunError: there is a run that is not to be overwritten, or something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"--output {str(folder)!r} is a file. Choose a folder.")
    if not any(folder.iterdir()):
        return
    if (folder / "group.yaml").is_file():
        raise RunError(f"{str(folder)!r} is a group of runs. Choose another --output for a single one.")
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"The folder {str(folder)!r} is not empty and no run folder, so it is left as it is. Choose another."
        )
    if not overwrite:
        raise RunError(
            f"There is a run in {str(folder)!r} already. Go on with it by `dropkd resume {folder}`, choose another "
            "--output, or replace it with --overwrite."
        )


def claim_folder(folder: Path, job: Job) -> None:
    """Make the run folder with its first two files, or leave nothing behind.

    What an earlier run left there has been given up by --overwrite.
    """
    if folder.exists() and any(folder.iterdir()):
        shutil.rmtree(folder)
    try:
        writable_folder(folder)
        write_text(folder / "config.yaml", dump_config(job.config))
        write_json(folder / "environment.json", describe_environment(job))
    except BaseException:
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        raise
