"""From a configuration to everything that a run needs, in memory; nothing is written here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from dropkd.config import Config, MethodConfig, TeacherConfig
from dropkd.data import EvalLoader, ImageData, Pack, Recipe, Split, TrainLoader, default_recipe, open_data
from dropkd.engine.distiller import Distiller
from dropkd.engine.evaluation import Answers, answer_split
from dropkd.engine.fabric import Fabric, choose_device, make_fabric
from dropkd.engine.observer import Observer
from dropkd.engine.plan import ResolvedConfig, evaluation_frame, resolve_config, training_view
from dropkd.engine.teacher_check import judge_teacher, require_teacher
from dropkd.errors import ConfigError
from dropkd.methods.options import spell_out_options
from dropkd.models import (
    Network,
    build_network,
    ensemble,
    map_labels,
    native_input,
    open_teacher,
    read_spec,
    wrap_model,
)
from dropkd.models.teachers.ensemble import EnsembleTeacher, split_sources
from dropkd.models.teachers.mapped import MappedTeacher

__all__ = ["Job", "check_teacher", "hash_weights", "prepare_job"]

_EVAL_BATCH = 250
# Images that a teacher without a word on its input size is tried on, and training images that it is checked on.
_SIZE_IMAGES, _CHECK_IMAGES = 200, 1_000
# The benchmarks whose methods warm up do so for 20 of 240 epochs.
_EPOCHS_TO_WARMUP = 12
# What of an answer can't be averaged over networks of different widths.
_OF_ONE_NETWORK = {"maps", "preactivations", "embedding"}


@dataclass
class Job:
    """Everything that a run needs.

    Args:
        config: the resolved configuration.
        data: the opened data set.
        fabric: device and precision.
        distiller: student, method and teacher, as they are before the first step.
        recipe: what is done to the training images.
        view_size: (height, width) of the training views.
        initial_weights: SHA-256 of the student's initial weights.
    """

    config: ResolvedConfig
    data: ImageData
    fabric: Fabric
    distiller: Distiller
    recipe: Recipe
    view_size: tuple[int, int]
    initial_weights: str

    def train_loader(self) -> TrainLoader:
        """Return the loader of the training images."""
        config = self.config
        return TrainLoader(
            self.data.train,
            size=self.view_size,
            recipe=self.recipe,
            batch_size=config.training.batch_size,
            seed=config.seed,
            workers=config.data.workers,
            views=self.distiller.method.views,
            # A last batch of few images makes batch statistics, and losses over a batch, worthless.
            drop_last=len(self.data.train) >= config.training.batch_size,
        )

    def eval_loader(self, split: Split, network: Network) -> EvalLoader:
        """Return the loader of a split with frames of the size that this network wants."""
        # The student gets the very frames that it gets after training; a large teacher enlarges small images itself.
        native = self.data.native_size if network is self.distiller.teacher else None
        size = evaluation_frame(network.spec.image_size, network.spec.crop_fraction, native)
        batch = max(1, min(_EVAL_BATCH, 4 * self.config.training.batch_size))
        return EvalLoader(split, size=size, batch_size=batch, workers=self.config.data.workers)


def prepare_job(
    config: Config,
    observer: Observer,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    data: ImageData | None = None,
) -> Job:
    """Open the data, build the networks and the method, and decide what the configuration leaves open.

    Args:
        config: the configuration.
        observer: who is told.
        student: the student itself, where it is not to be built by ``config.student.name``.
        teacher: the teacher itself, where it is not to be opened from ``config.teacher.source``.
        data: the opened data set, where it is open already.

    Raises:
        DropKDError: anything in the configuration, the data or the networks that the user has to mend.
    """
    device = choose_device(config.device)
    fabric = make_fabric(device, config.training.precision)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if data is None:
        data = open_data(
            config.data.path,
            seed=config.seed,
            validation_fraction=config.data.validation_fraction,
            skip_unreadable=config.data.skip_unreadable,
            progress=partial(observer.on_phase, "Reading images"),
        )
        for note in data.notes:
            observer.on_message(note)
    own_input = None if student is not None else native_input(config.student.name)
    if student is None and config.student.pretrained and own_input is None:
        observer.on_message(f"{config.student.name} has no published weights: it starts from random ones.")
        config = config.model_copy(update={"student": config.student.model_copy(update={"pretrained": False})})
    resolved = resolve_config(config, data, native_input=own_input, cpus=len(os.sched_getaffinity(0)))
    # The student's first weights depend on the seed alone, so runs of different methods start alike.
    torch.manual_seed(resolved.seed)
    network = _build_student(resolved, data, student)
    initial_weights = hash_weights(network.model)
    expert = _open_teacher(resolved, data, network, teacher, observer)
    distiller = Distiller(
        network,
        expert,
        resolved.method.name,
        options=resolved.method.options,
        weights=resolved.method.weights,
        warmup_epochs=resolved.method.warmup_epochs,
        label_smoothing=resolved.training.label_smoothing,
        targets=torch.from_numpy(data.train.targets),
    )
    if isinstance(expert, EnsembleTeacher) and distiller.method.teacher_reads & _OF_ONE_NETWORK:
        observer.on_message(
            f"Of an ensemble, {resolved.method.name} reads maps and embedding of its first member, "
            f"{expert.first.spec.name}."
        )
    _cap_warmups(resolved, distiller)
    _check_batch(resolved, distiller)
    resolved = _spell_out_method(resolved, distiller)
    if resolved.training.channels_last:
        distiller.to(memory_format=torch.channels_last)
    if resolved.training.compile:
        distiller.student.compile()
    view_size = training_view(
        network.spec.image_size, expert.spec.image_size if expert is not None else None, data.native_size
    )
    recipe = _choose_recipe(resolved, data, view_size)
    return Job(resolved, data, fabric, distiller, recipe, view_size, initial_weights)


def check_teacher(job: Job, observer: Observer) -> Answers | None:
    """Return the teacher's answers to the validation images, having judged it by them.

    Where there are fewer than a thousand it is judged by as many training images beside them.

    Raises:
        TrainingError: the teacher is near chance or has another class order, and ``teacher_check`` is ``stop``.
    """
    teacher = job.distiller.teacher
    if teacher is None:
        return None
    val, phase = job.data.val, "Checking the teacher"

    def ask(split: Split) -> Answers:
        with job.fabric.autocast():
            loader = job.eval_loader(split, teacher)
            return answer_split(teacher, loader, job.fabric.device, progress=partial(observer.on_phase, phase))

    answers = ask(val) if val is not None else None
    if teacher.shapes.logits != len(job.data.classes):
        observer.on_warning(
            f"The teacher's {teacher.shapes.logits} classes are not the data's {len(job.data.classes)}, so its "
            "accuracy can't be measured; only features are distilled."
        )
        return None
    judged, where = answers, "validation"
    if judged is None or len(judged.target) < _CHECK_IMAGES:
        # Too few to tell knowledge from luck: training images help, which the student has not seen yet either.
        more = ask(_sample(job.data.train, _CHECK_IMAGES))
        parts = [part for part in (judged, more) if part is not None]
        judged = Answers(torch.cat([p.logits for p in parts]), torch.cat([p.target for p in parts]))
        where = "training and validation" if answers is not None else "training"
    accuracy, problem = judge_teacher(judged, job.data.classes, teacher.spec.classes)
    observer.on_message(f"The teacher gets {accuracy:.2%} of {len(judged.target):,} {where} images right.")
    if problem is not None and job.config.teacher_check != "off":
        observer.on_warning(require_teacher(problem, job.config.teacher_check))
    return answers


def _cap_warmups(config: ResolvedConfig, distiller: Distiller) -> None:
    """Shorten the method's own warm-ups to their share of the published trainings, 20 of 240 epochs."""
    given = config.method.warmup_epochs
    if given is None or isinstance(given, dict):
        longest = config.training.epochs / _EPOCHS_TO_WARMUP
        distiller.warmups = {
            name: epochs if name in (given or {}) else min(epochs, longest)
            for name, epochs in distiller.warmups.items()
        }


def _check_batch(config: ResolvedConfig, distiller: Distiller) -> None:
    least, batch = distiller.method.least_batch, config.training.batch_size
    if batch < least:
        raise ConfigError(
            f"{config.method.name} compares the images of a batch with each other and needs at least {least} of them, "
            f"but training.batch_size is {batch}. Raise it."
        )


def _spell_out_method(config: ResolvedConfig, distiller: Distiller) -> ResolvedConfig:
    """Return the configuration with every option and weight of the method, so that it outlives a change of defaults."""
    options = spell_out_options(type(distiller.method), config.method.options)
    method = MethodConfig(
        name=config.method.name,
        weights=distiller.weights,
        warmup_epochs=_join_equal(distiller.warmups),
        **options,
    )
    return config.model_copy(update={"method": method})


def _join_equal(warmups: Mapping[str, float]) -> float | dict[str, float]:
    """Return the one number that all terms share, or each one's own."""
    different = set(warmups.values())
    return dict(warmups) if len(different) > 1 else max(different, default=0.0)


def hash_weights(model: nn.Module) -> str:
    """Return a SHA-256 over a model's parameters and buffers, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _build_student(config: ResolvedConfig, data: ImageData, given: nn.Module | None) -> Network:
    chosen = config.student
    if isinstance(given, Network):
        network = given
    elif given is not None:
        network = wrap_model(
            given, image_size=config.data.image_size, map_modules=chosen.map_modules, classes=data.classes
        )
    else:
        network = build_network(
            chosen.name,
            num_classes=len(data.classes),
            image_size=config.data.image_size,
            pretrained=chosen.pretrained and chosen.checkpoint is None,
            checkpoint=chosen.checkpoint,
            options=chosen.options,
            classes=data.classes,
            map_modules=chosen.map_modules,
        )
    if network.shapes.logits != len(data.classes):
        raise ConfigError(f"The student has {network.shapes.logits} classes and the data {len(data.classes)}.")
    return network


def _open_teacher(
    config: ResolvedConfig, data: ImageData, student: Network, given: nn.Module | None, observer: Observer
) -> Network | None:
    chosen = config.teacher
    if chosen is None:
        return None
    if given is not None:
        return _open_member(given, chosen, data, student, observer)
    first, *others = split_sources(chosen.source)
    # An ensemble's maps are those of its first member.
    plain = chosen.model_copy(update={"map_modules": None})
    networks = [_open_member(first, chosen, data, student, observer)]
    return ensemble(networks + [_open_member(other, plain, data, student, observer) for other in others])


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
        )
        return expert if chosen.label_map is None else map_labels(expert, chosen.label_map, data.classes)

    teacher, own = open_at(chosen.image_size), student.spec.image_size
    if isinstance(teacher, MappedTeacher):
        observer.on_message(f"Label map: {teacher.label_map.describe()}")
    _, colon, file = source.partition(":") if isinstance(source, str) else ("", "", "")
    says_its_size = not colon or read_spec(file) is not None
    if says_its_size or chosen.image_size is not None or teacher.spec.image_size == own:
        return teacher
    if teacher.shapes.logits != student.shapes.logits:
        return teacher
    # A bare file of weights does not say what it was fed: small images may have been blown up or not.
    candidates = (teacher, open_at(own))
    accuracies = [_measure(network, data) for network in candidates]
    best = candidates[accuracies.index(max(accuracies))]
    tried = " and ".join(
        f"{accuracy:.1%} at {network.spec.image_size[0]} x {network.spec.image_size[1]}"
        for accuracy, network in zip(accuracies, candidates, strict=True)
    )
    observer.on_message(
        f"The teacher's file does not say its input size: it gets {tried} pixels right, so it is fed "
        f"{best.spec.image_size[0]} x {best.spec.image_size[1]}. teacher.image_size decides otherwise."
    )
    return best


def _measure(teacher: Network, data: ImageData) -> float:
    """Return a teacher's accuracy on a few training images."""
    split = _sample(data.train, _SIZE_IMAGES)
    size = evaluation_frame(teacher.spec.image_size, teacher.spec.crop_fraction, data.native_size)
    answers = answer_split(teacher, EvalLoader(split, size=size, batch_size=50), torch.device("cpu"))
    return float((answers.prediction == answers.target).double().mean())


def _sample(split: Split, images: int) -> Split:
    """Return a part of a split, spread evenly over it."""
    rows = np.unique(np.linspace(0, len(split) - 1, min(images, len(split))).round().astype(np.int64))
    pack = Pack(split.pack.array, split.pack.rows[rows]) if split.pack is not None else None
    digests = tuple(split.digests[i] for i in rows) if split.digests else ()
    return replace(
        split, paths=tuple(split.paths[i] for i in rows), targets=split.targets[rows], digests=digests, pack=pack
    )


def _choose_recipe(config: ResolvedConfig, data: ImageData, view_size: tuple[int, int]) -> Recipe:
    chosen = config.data
    default = default_recipe(data.native_size, view_size)
    return Recipe(
        augmentation=default.augmentation if chosen.augmentation == "auto" else chosen.augmentation,
        flip=chosen.flip,
        crop_padding=default.crop_padding if chosen.crop_padding is None else chosen.crop_padding,
        scale=default.scale,
        erase_probability=chosen.erase_probability,
        color_jitter=chosen.color_jitter,
    )
