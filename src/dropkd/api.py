"""What the command line calls, and what a notebook calls just as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dropkd.assessment import evaluate
from dropkd.config import Config, load_config
from dropkd.engine.caching import build_for
from dropkd.engine.observer import Observer
from dropkd.engine.rehearsal import DryRun, rehearse
from dropkd.engine.running import resume_run, start_run
from dropkd.engine.signals import Interrupted
from dropkd.models.teachers.given import Teachers, as_given, count_teachers, name_teachers
from dropkd.report import write_run_report
from dropkd.run import Run

__all__ = ["build_cache", "distill", "dry_run", "evaluate", "resume", "run", "train"]


def distill(
    data: str | Path,
    *,
    teacher: Teachers,
    student: str | nn.Module,
    method: str = "dropkd",
    output: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    pretrained: bool | None = None,
    baseline: bool | None = None,
    unlabelled: str | Path | None = None,
    unlabelled_ratio: float | None = None,
    teacher_check: str | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Distil a teacher into a student on a folder of images and return the run.

    What is left None is decided by the data and the networks, as on the command line.

    Args:
        data: a folder ``train/CLASS/*`` and ``test/CLASS/*`` (``val/`` too), or just ``CLASS/*``; a manifest,
            RAF-DB and others in their own layout, or ``torchvision:CIFAR100`` and the like.
        teacher: a model name with its published weights, ``NAME:CHECKPOINT``, a run folder, a TorchScript or ONNX file,
            ``hf:ORG/NAME`` or ``hf:FOLDER``, ``clip:MODEL/WEIGHTS`` (zero-shot, told the names of the data's classes),
            several of these as ``ensemble:A+B`` (their mean) or in a list (a term for each), a module, or a function
            that gives logits (B, K) for images (B, 3, H, W) in 0..1 of the student's size; see
            :func:`dropkd.models.wrap_callable` for other sizes.
        student: a model name or a module. A module is given images that are normalised as for ImageNet; wrap it with
            :func:`dropkd.models.wrap_model` first to choose otherwise.
        method: a method's name, see ``dropkd methods``.
        output: the run folder; by default the next free one under ``runs/``.
        epochs: passes over the training images.
        batch_size: images a step.
        image_size: pixels that the student is fed, one number or (height, width).
        lr: peak learning rate.
        seed: of every random number; 0 by default.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        workers: processes that read images.
        pretrained: whether the student starts from its published weights where there are any; True by default.
        baseline: also train the same student alone, in ``baseline/`` of the run folder.
        unlabelled: images without labels, for the teacher's terms alone: a folder of any depth, or any form of
            ``data``, whose labels are not read.
        unlabelled_ratio: unlabelled images for each labelled one in a batch, 1 by default; ``batch_size`` counts the
            labelled ones.
        teacher_check: ``stop`` (default), ``warn`` or ``off``: what a teacher near chance on the data does.
        settings: anything else of the configuration by its dotted key, ``{"method.temperature": 2.0}``.
        overwrite: replace a run that is there already.
        observer: hears of progress.

    Raises:
        DropKDError: anything that the caller has to mend.
        Interrupted: SIGTERM or Ctrl-C came; :func:`resume` goes on.
    """
    flags = {
        "data.path": data,
        "data.image_size": image_size,
        "data.workers": workers,
        "data.unlabelled": unlabelled,
        "data.unlabelled_ratio": unlabelled_ratio,
        "student.name": _name_of(student),
        "student.pretrained": pretrained,
        "teacher.source": name_teachers(teacher),
        "teacher.each": True if count_teachers(teacher) > 1 else None,
        "teacher_check": teacher_check,
        "method.name": method,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.lr": lr,
        "seed": seed,
        "device": device,
        "baseline": baseline,
        "output": output,
    }
    return run(
        _configure(flags, settings),
        overwrite=overwrite,
        observer=observer,
        student=student if isinstance(student, nn.Module) else None,
        teacher=as_given(teacher),
    )


def train(
    data: str | Path,
    *,
    model: str | nn.Module,
    output: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    pretrained: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train a network on a folder of images without a teacher and return the run.

    Args:
        data: as in :func:`distill`, and so are the arguments that are not listed here.
        model: a model name or a module.
        output: the run folder; by default the next free one under ``runs/``.
        epochs: passes over the training images.
        batch_size: images a step.
        image_size: pixels that the network is fed, one number or (height, width).
        lr: peak learning rate.
        seed: of every random number; 0 by default.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        workers: processes that read images.
        pretrained: whether the network starts from its published weights where there are any; True by default.
        settings: anything else of the configuration by its dotted key, ``{"training.ema_decay": 0.999}``.
        overwrite: replace a run that is there already.
        observer: hears of progress.

    Raises:
        DropKDError: anything that the caller has to mend.
        Interrupted: SIGTERM or Ctrl-C came; :func:`resume` goes on.
    """
    flags = {
        "data.path": data,
        "data.image_size": image_size,
        "data.workers": workers,
        "student.name": _name_of(model),
        "student.pretrained": pretrained,
        "method.name": "plain",
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.lr": lr,
        "seed": seed,
        "device": device,
        "output": output,
    }
    return run(
        _configure(flags, settings),
        overwrite=overwrite,
        observer=observer,
        student=model if isinstance(model, nn.Module) else None,
    )


def run(
    config: Config,
    *,
    overwrite: bool = False,
    observer: Observer | None = None,
    student: nn.Module | None = None,
    teacher: Teachers | None = None,
) -> Run:
    """Carry out a configuration: train, judge, write the report.

    Args:
        config: what to do.
        overwrite: replace a run that is in ``config.output`` already.
        observer: hears of progress.
        student: a module to train instead of building ``config.student.name``.
        teacher: a module, or a function from images to logits, to learn from instead of opening
            ``config.teacher.source``.

    Raises:
        DropKDError: anything that the caller has to mend.
        Interrupted: SIGTERM or Ctrl-C came; :func:`resume` goes on.
    """
    with _reported():
        folder = start_run(
            config, observer or Observer(), overwrite=overwrite, student=student, teacher=as_given(teacher)
        )
    write_run_report(folder)
    return Run.open(folder)


def resume(
    folder: str | Path,
    *,
    observer: Observer | None = None,
    student: nn.Module | None = None,
    teacher: Teachers | None = None,
) -> Run:
    """Go on with a stopped run. Where it was finished already, nothing happens.

    Raises:
        RunError: it is no run folder, its checkpoint is damaged, or its training images have changed.
    """
    opened = Run.open(folder)
    if not opened.is_finished:
        with _reported():
            resume_run(opened.folder, observer or Observer(), student=student, teacher=as_given(teacher))
        write_run_report(opened.folder)
    return opened


def dry_run(config: Config, *, observer: Observer | None = None) -> DryRun:
    """Resolve a configuration, build everything, time a few real steps, and write nothing."""
    return rehearse(config, observer or Observer())


def build_cache(config: Config, *, observer: Observer | None = None) -> Path:
    """Ask a configuration's teacher about every view that its training will show, and keep the answers.

    Returns:
        The cache's folder. What was there already is not computed again.

    Raises:
        ConfigError: the method has no teacher, or one whose answers can't be kept.
        DropKDError: anything else that the caller has to mend, a full disk among it.
    """
    return build_for(config, observer or Observer())


@contextmanager
def _reported() -> Iterator[None]:
    """A run that was stopped has its page too."""
    try:
        yield
    except Interrupted as stop:
        write_run_report(stop.folder)
        raise


def _name_of(model: str | Path | nn.Module | Callable[[Tensor], Any]) -> str:
    if isinstance(model, (str, Path)):
        return str(model)
    return getattr(model, "__name__", type(model).__name__)


def _configure(flags: Mapping[str, Any], settings: Mapping[str, Any] | None) -> Config:
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in flags.items()}
    return load_config(flags={**plain, **(settings or {})})
