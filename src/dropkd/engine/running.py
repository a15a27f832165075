"""A run from its configuration to its last file, and a stopped run taken up again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dropkd.config import Config, MethodConfig, load_config, update_config
from dropkd.data import EvalLoader
from dropkd.engine.augmentation import fit_padding
from dropkd.engine.caching import open_cache
from dropkd.engine.job import Job
from dropkd.engine.journal import Journal
from dropkd.engine.loggers import make_logger
from dropkd.engine.observer import Observer
from dropkd.engine.outcome import conclude, mark_interrupted, read_departures, read_metrics
from dropkd.engine.pool import describe_steps
from dropkd.engine.run_folder import check_free, claim_folder, free_folder, with_absolute_paths
from dropkd.engine.setup import prepare_job
from dropkd.engine.signals import Interrupted, StopRequest
from dropkd.engine.teachers import check_teacher
from dropkd.engine.training import Training
from dropkd.errors import ConfigError, DropKDError, RunError
from dropkd.models.teachers.given import Given

__all__ = ["Steps", "make_training", "resume_run", "start_run", "train_baseline", "train_in_steps"]

_BASELINE = "baseline"
# Steps of a training, one at each turn; its final numbers at the end.
Steps = Generator[None, None, dict[str, Any]]


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
    folder = config.output or free_folder(config)
    check_free(folder, overwrite)
    job = prepare_job(config, observer, student=student, teacher=teacher)
    job.config = with_absolute_paths(job.config)
    training = make_training(job, folder, observer)
    claim_folder(folder, job)
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
    return _train_all(job, make_training(job, folder, observer), observer, student)


def _train_all(job: Job, training: Training, observer: Observer, student: nn.Module | None) -> Path:
    folder = training.folder
    try:
        baseline = train_baseline(job, folder, observer, student)
        observer.on_end(_run_through(train_in_steps(job, training, baseline)))
    except Interrupted as stop:
        mark_interrupted(job, training)
        # The baseline is a part of this run: it is this folder that is resumed.
        where = stop.where if stop.folder == folder else f"in the baseline, {stop.where}"
        raise Interrupted(stop.signal_number, where, folder) from stop
    return folder


def _run_through(steps: Steps) -> dict[str, Any]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            metrics: dict[str, Any] = end.value
            return metrics


def train_in_steps(job: Job, training: Training, baseline: str | None, stop: StopRequest | None = None) -> Steps:
    """Carry out a training from its first step, or the one that its checkpoint stands at, to its last file.

    Between two turns others may draw random numbers, if they put the generators' state back.

    Args:
        job: what is trained.
        training: its state.
        baseline: name of the folder with the plain run beside it, or None.
        stop: is asked after each step whether to go on; None listens to the signals itself.

    Returns:
        What ``metrics.json`` holds.
    """
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
        with StopRequest() if stop is None else nullcontext(stop) as request:
            yield from training.steps(journal, request)
        metrics = conclude(job, training, baseline=baseline)
        journal.write("end", training.done_steps, splits=metrics["splits"])
    except Interrupted:
        raise
    except Exception as error:
        _note_failure(journal, error)
        raise
    finally:
        journal.close()
    return metrics


def _note_failure(journal: Journal, error: Exception) -> None:
    """Write down what ended the run, for whoever looks at it later; a resume takes the line away again."""
    words = str(error) if isinstance(error, DropKDError) else f"{type(error).__name__}: {error}"
    # What ended it may be that nothing can be written any more.
    with suppress(OSError, RunError, ValueError):
        journal.write("failure", reason=words)


def train_baseline(whole: Job, run: Path, observer: Observer, student: nn.Module | None = None) -> str | None:
    """Train the same student alone, with the same seed, data, views and budget, where that is asked for.

    Args:
        whole: the run that is compared with it.
        run: its folder.
        observer: who is told.
        student: the student's module, where the run was started with one.

    Returns:
        The name of the baseline's folder within the run's; None where no baseline is asked for.
    """
    config, folder = whole.config, run / _BASELINE
    if not config.baseline:
        return None
    if read_metrics(folder).get("status") == "finished":
        return _BASELINE
    # Without a teacher there is nothing to learn from unlabelled images.
    images = fit_padding(config.data, whole.view_size).model_copy(update={"unlabelled": None, "unlabelled_ratio": 1.0})
    changes = {"data": images, "method": MethodConfig(), "teacher": None, "baseline": False, "output": folder}
    plain = config.model_copy(update=changes)
    job = prepare_job(plain, observer, student=student, data=whole.data, shared=whole.shared)
    # It was asked for what the run was asked for, as far as that is not the teacher's.
    taught = ("method.", "teacher.", "cache.", "baseline", "data.unlabelled")
    asked = read_departures(run)
    job.departures = {key: default for key, default in asked.items() if not key.startswith(taught)}
    training = make_training(job, folder, observer)
    if not (folder / "environment.json").is_file():
        claim_folder(folder, job)
    _run_through(train_in_steps(job, training, None))
    return _BASELINE


def _watch_test(job: Job) -> EvalLoader | None:
    if not job.config.training.track_test:
        return None
    if job.data.test is None:
        raise ConfigError("training.track_test follows the test images, but the data has none.")
    return job.eval_loader(job.data.test, job.distiller.student)


def make_training(job: Job, folder: Path, observer: Observer) -> Training:
    """Return a job's training as it is before its first step, with the teacher judged and its answers at hand."""
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
        _watch_test(job),
        val_teacher,
        job.fabric,
        observer,
        job.data.train.fingerprint(),
        job.unlabelled.split.fingerprint() if job.unlabelled is not None else None,
        open_cache(job, loader, observer),
        job.qat,
    )
