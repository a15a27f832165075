"""A run from its configuration to its last file, and a stopped run taken up again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dropkd.config import Config, MethodConfig, dump_config, load_config, update_config
from dropkd.data import absolute_source
from dropkd.engine.augmentation import fit_padding
from dropkd.engine.caching import open_cache
from dropkd.engine.job import Job
from dropkd.engine.journal import Journal
from dropkd.engine.loggers import make_logger
from dropkd.engine.observer import Observer
from dropkd.engine.outcome import conclude, describe_environment, mark_interrupted, read_metrics, write_json
from dropkd.engine.plan import ResolvedConfig
from dropkd.engine.pool import describe_steps
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import Interrupted
from dropkd.engine.teachers import check_teacher
from dropkd.engine.training import Training
from dropkd.errors import RunError
from dropkd.files import writable_folder, write_text
from dropkd.models.source_lists import absolute_sources
from dropkd.models.teachers.given import Given

__all__ = ["resume_run", "start_run"]

_BASELINE = "baseline"


def start_run(
    config: Config,
    observer: Observer,
    *,
    overwrite: bool = False,
    student: nn.Module | None = None,
    teacher: Given | None = None,
) -> Path:
    """Train from the first step and return the run folder.

    Nothing is written before the data, the networks and the teacher's accuracy have been found right.

    Raises:
        DropKDError: something that the user has to mend.
        Interrupted: SIGTERM or Ctrl-C came; :func:`resume_run` goes on.
    """
    folder = config.output or _free_folder(config)
    _check_free(folder, overwrite)
    job = prepare_job(config, observer, student=student, teacher=teacher)
    job.config = _with_absolute_paths(job.config)
    training = _make_training(job, folder, observer)
    _claim(folder, job)
    return _train_all(job, training, observer, student)


def resume_run(
    folder: Path, observer: Observer, *, student: nn.Module | None = None, teacher: Given | None = None
) -> Path:
    """Go on with a stopped run; its end is bit for bit that of a run that was never stopped (on a CPU).

    Args:
        folder: the run folder.
        observer: who is told.
        student: the student's module, where the run was started with one.
        teacher: the teacher's module, likewise.

    Raises:
        RunError: no run folder, a damaged checkpoint, or other training images than at the start.
    """
    if not (folder / "config.yaml").is_file():
        raise RunError(f"{str(folder)!r} is no run folder: it has no config.yaml.")
    config = update_config(load_config(folder / "config.yaml"), {"output": folder})
    job = prepare_job(config, observer, student=student, teacher=teacher)
    return _train_all(job, _make_training(job, folder, observer), observer, student)


def _train_all(job: Job, training: Training, observer: Observer, student: nn.Module | None) -> Path:
    folder, baseline = training.folder, None
    try:
        if job.config.baseline:
            baseline = _BASELINE
            _train_baseline(job, folder / baseline, observer, student)
        observer.on_end(_train(job, training, baseline))
    except Interrupted as stop:
        mark_interrupted(job, training)
        # The baseline is a part of this run: it is this folder that is resumed.
        where = stop.where if stop.folder == folder else f"in the baseline, {stop.where}"
        raise Interrupted(stop.signal_number, where, folder) from stop
    return folder


def _train(job: Job, training: Training, baseline: str | None) -> dict[str, Any]:
    resumes = (training.folder / "last.ckpt").is_file()
    if resumes:
        size = training.restore()
    else:
        size = 0
        # What building the networks and a baseline drew from the generator must not shift what training draws.
        torch.manual_seed(job.config.seed + 1)
    plain_config = job.config.model_dump(mode="json")
    loggers = tuple(make_logger(name, training.folder, plain_config) for name in job.config.loggers)
    journal = Journal(training.folder / "metrics.jsonl", size, loggers)
    try:
        if not resumes:
            journal.write("start", 0, config=plain_config, view_size=list(job.view_size))
            training.save(journal)
            if job.config.finetune.differs_from_default:
                training.observer.on_rates(job.finetuning.tabulate(), job.finetuning.depths.by)
        training.fit(journal)
        metrics = conclude(job, training, baseline=baseline)
        journal.write("end", training.done_steps, splits=metrics["splits"])
    finally:
        journal.close()
    return metrics


def _train_baseline(whole: Job, folder: Path, observer: Observer, student: nn.Module | None) -> None:
    """Train the same student alone, with the same seed, data, views and budget."""
    if read_metrics(folder).get("status") == "finished":
        return
    config = whole.config
    # Without a teacher there is nothing to learn from unlabelled images.
    images = fit_padding(config.data, whole.view_size).model_copy(update={"unlabelled": None, "unlabelled_ratio": 1.0})
    changes = {"data": images, "method": MethodConfig(), "teacher": None, "baseline": False, "output": folder}
    plain = config.model_copy(update=changes)
    job = prepare_job(plain, observer, student=student, data=whole.data)
    training = _make_training(job, folder, observer)
    if not (folder / "environment.json").is_file():
        _claim(folder, job)
    _train(job, training, None)


def _make_training(job: Job, folder: Path, observer: Observer) -> Training:
    val_teacher = check_teacher(job, observer)
    val, loader = job.data.val, job.train_loader()
    if (steps := describe_steps(loader, job.config.training.epochs)) is not None:
        observer.on_message(f"Training: {steps}.")
    return Training(
        job.config,
        folder,
        job.distiller,
        job.finetuning,
        loader,
        job.eval_loader(val, job.distiller.student) if val is not None else None,
        val_teacher,
        job.fabric,
        observer,
        job.data.train.fingerprint(),
        job.unlabelled.split.fingerprint() if job.unlabelled is not None else None,
        open_cache(job, loader, observer),
    )


def _with_absolute_paths(config: ResolvedConfig) -> ResolvedConfig:
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


def _free_folder(config: Config) -> Path:
    stem = f"{config.method.name}-{config.student.name.replace('/', '-')}-seed{config.seed}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"--output {str(folder)!r} is a file. Choose a folder.")
    if not any(folder.iterdir()):
        return
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"The folder {str(folder)!r} is not empty and no run folder, so it is left as it is. Choose another."
        )
    if not overwrite:
        raise RunError(
            f"There is a run in {str(folder)!r} already. Go on with it by `dropkd resume {folder}`, choose another "
            "--output, or replace it with --overwrite."
        )


def _claim(folder: Path, job: Job) -> None:
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
