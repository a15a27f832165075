"""The teacher of a run: opened from what the configuration names, and tried on the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from dropkd.config import Config, TeacherConfig
from dropkd.data import EvalLoader, ImageData, Split
from dropkd.engine.evaluation import Answers, answer_split, score_answers
from dropkd.engine.job import Job
from dropkd.engine.label_teacher_check import find_odd_probabilities, judge_label_teacher
from dropkd.engine.observer import Observer
from dropkd.engine.plan import evaluation_frame
from dropkd.engine.teacher_answers import answer_once
from dropkd.engine.teacher_check import judge_teacher, require_teacher
from dropkd.errors import ConfigError
from dropkd.metrics.multi_label import mean_prevalence
from dropkd.models import Network, ensemble, map_labels, open_teacher, read_spec
from dropkd.models.sources import parse_source
from dropkd.models.teachers.ensemble import EnsembleTeacher, open_each
from dropkd.models.teachers.given import Given
from dropkd.models.teachers.mapped import MappedTeacher

__all__ = ["check_teacher", "open_expert"]

# Images that a teacher without a word on its input size is tried on, and training images that it is checked on.
_SIZE_IMAGES, _CHECK_IMAGES = 200, 1_000


def open_expert(
    config: Config, data: ImageData, student: Network, given: Given | None, observer: Observer
) -> Network | None:
    """Return the teacher that the configuration names, or the one that is given; None where there is neither.

    Args:
        config: names the teacher.
        data: the opened data set.
        student: says how many classes and which size of images are meant where the teacher does not.
        given: the teacher itself, where it is not to be opened from ``config.teacher.source``.
        observer: who is told.

    Raises:
        DropKDError: nothing of that name, weights that can't be had or don't fit, a wrong label map.
    """
    chosen = config.teacher
    if chosen is None:
        return None
    if isinstance(given, nn.Module):
        return _open_member(given, chosen, data, student, observer)
    # An ensemble's maps are those of its first member.
    plain = chosen.model_copy(update={"map_modules": None})

    def open_member(source: str, is_first: bool) -> Network:
        return _open_member(source, chosen if is_first else plain, data, student, observer)

    if given is not None:
        return ensemble(
            [
                _open_member(member, plain if number else chosen, data, student, observer)
                for number, member in enumerate(given)
            ],
            each=chosen.each,
        )
    expert = open_each(chosen.source, open_member, each=chosen.each)
    if chosen.each and not isinstance(expert, EnsembleTeacher):
        raise ConfigError(
            f"teacher.each gives each network of an ensemble terms of its own, but {chosen.source!r} is one teacher. "
            "Name several as 'ensemble:A+B', or leave teacher.each out."
        )
    return expert


def _open_member(
    source: str | nn.Module, chosen: TeacherConfig, data: ImageData, student: Network, observer: Observer
) -> Network:
    def open_at(size: int | tuple[int, int] | None) -> Network:
        expert = open_teacher(
            source,
            num_classes=student.shapes.logits if chosen.label_map is None else None,
            image_size=student.spec.image_size,
            map_modules=chosen.map_modules,
            checkpoint_size=size,
            classes=data.classes if chosen.label_map is None else None,
        )
        return expert if chosen.label_map is None else map_labels(expert, chosen.label_map, data.classes)

    teacher, own = open_at(chosen.image_size), student.spec.image_size
    if isinstance(teacher, MappedTeacher):
        observer.on_message(f"Label map: {teacher.label_map.describe()}")
    if _says_its_size(source) or chosen.image_size is not None or teacher.spec.image_size == own:
        return teacher
    if teacher.shapes.logits != student.shapes.logits:
        return teacher
    # A bare file of weights does not say what it was fed: small images may have been blown up or not.
    candidates = (teacher, open_at(own))
    accuracies = [_measure(network, data) for network in candidates]
    best = candidates[accuracies.index(max(accuracies))]
    what, right = ("an mAP of ", "") if data.multi_label else ("", " right")
    tried = " and ".join(
        f"{what}{accuracy:.1%} at {network.spec.image_size[0]} x {network.spec.image_size[1]}"
        for accuracy, network in zip(accuracies, candidates, strict=True)
    )
    observer.on_message(
        f"The teacher's file does not say its input size: it gets {tried} pixels{right}, so it is "
        f"fed {best.spec.image_size[0]} x {best.spec.image_size[1]}. teacher.image_size decides otherwise."
    )
    return best


def _says_its_size(source: str | nn.Module) -> bool:
    """Tell whether it is known what a teacher is fed; a bare file of weights beside a model's name does not say it."""
    named = parse_source(source) if isinstance(source, str) else None
    return named is None or named.scheme != "" or named.file is None or read_spec(named.file) is not None


def _measure(teacher: Network, data: ImageData) -> float:
    """Return a teacher's accuracy on a few training images, or mAP where they have several labels."""
    split = data.train.sample(_SIZE_IMAGES)
    size = evaluation_frame(teacher.spec.image_size, teacher.spec.crop_fraction, data.native_size)
    answers = answer_split(teacher, EvalLoader(split, size=size, batch_size=50), torch.device("cpu"))
    return float(score_answers(answers)["map" if data.multi_label else "accuracy"])


def check_teacher(job: Job, observer: Observer) -> Callable[[], Answers] | None:
    """Judge the teacher, and return what gives its answers to the validation images; None where they are of no use.

    It is judged by about a thousand validation images, and where there are fewer by as many training images beside
    them: to ask about all of a large split would take a tenth of the first epoch before its first step.

    Raises:
        TrainingError: the teacher is near chance or has another class order, and ``teacher_check`` is ``stop``.
    """
    teacher = job.distiller.teacher
    if teacher is None:
        return None
    if teacher.shapes.logits != len(job.data.classes):
        observer.on_warning(
            f"The teacher's {teacher.shapes.logits} classes are not the data's {len(job.data.classes)}, so its "
            "accuracy can't be measured; only features are distilled."
        )
        return None
    progress, val = partial(observer.on_phase, "Checking the teacher"), job.data.val
    # With nothing that hangs on it, a large teacher need not take its time over a thousand images.
    if job.config.teacher_check != "off":
        problem = _judge(*_ask_some(job, teacher, progress), job, teacher, observer)
        if problem is not None:
            observer.on_warning(require_teacher(problem, job.config.teacher_check))
    return None if val is None else partial(_ask, job, teacher, val, "validation")


def _ask_some(job: Job, teacher: Network, progress: Callable[[int, int], None]) -> tuple[Answers, str]:
    """Return the teacher's answers to some images, and which ones they are."""
    val, parts = job.data.val, []
    # Up to twice as many are asked about at once, since all of them will be.
    if val is not None and len(val) > 2 * _CHECK_IMAGES:
        return _ask(job, teacher, val.sample(_CHECK_IMAGES), "validation sample", progress), "validation"
    if val is not None:
        parts.append(_ask(job, teacher, val, "validation", progress))
        if len(val) >= _CHECK_IMAGES:
            return parts[0], "validation"
    # Too few to tell knowledge from luck: training images help, which the student has not seen yet either.
    parts.append(_ask(job, teacher, job.data.train.sample(_CHECK_IMAGES), "training sample", progress))
    where = "training and validation" if val is not None else "training"
    return Answers(torch.cat([p.logits for p in parts]), torch.cat([p.target for p in parts])), where


def _ask(
    job: Job, teacher: Network, split: Split, name: str, progress: Callable[[int, int], None] | None = None
) -> Answers:
    """Return the teacher's answers to some images, in the run's precision."""

    def answer() -> Answers:
        with job.fabric.autocast():
            return answer_split(teacher, job.eval_loader(split, teacher), job.fabric.device, progress=progress)

    precision = job.config.training.precision
    # Only what is asked before the first step says how far it is.
    once = partial(answer_once, job, teacher, split, name, precision, answer, at_start=progress is not None)
    return job.shared.remember((name, *_describe_asking(job, teacher)), once)


def _describe_asking(job: Job, teacher: Network) -> tuple[object, ...]:
    """Return all that a teacher's answers to a split depend on; other rows in a batch may change how it rounds."""
    training = job.config.training
    return id(teacher), id(job.data), training.precision, training.batch_size, job.fabric.device


def _judge(answers: Answers, where: str, job: Job, teacher: Network, observer: Observer) -> str | None:
    """Say how good the teacher is on these images, and return what is wrong with it."""
    images = f"{len(answers.target):,} {where} images"
    if not answers.multi_label:
        accuracy, problem = judge_teacher(answers, job.data.classes, teacher.spec.classes)
        observer.on_message(f"The teacher gets {accuracy:.2%} of {images} right.")
        return problem
    found, problem = judge_label_teacher(answers, job.data.classes, teacher.spec.classes)
    chance = mean_prevalence(answers.target)
    observer.on_message(f"The teacher's mAP on {images} is {found:.2%}; a random order has {chance:.2%}.")
    odd = find_odd_probabilities(answers) if problem is None else None
    if odd is not None and job.config.teacher_check != "off":
        observer.on_warning(odd)
    return problem
