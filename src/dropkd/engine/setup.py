"""From a configuration to everything that a run needs, in memory; nothing is written here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from dropkd.config import Config, MethodConfig
from dropkd.data import ImageData, open_data
from dropkd.engine.augmentation import choose_recipe, spell_out_recipe
from dropkd.engine.departures import find_departures
from dropkd.engine.distiller import Distiller
from dropkd.engine.fabric import choose_device, make_fabric
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.imbalance import class_weights, measure_imbalance
from dropkd.engine.job import Job
from dropkd.engine.multi_label import check_label_map
from dropkd.engine.observer import Observer
from dropkd.engine.packing import choose_remembering, keep_decoded, leave_packed
from dropkd.engine.plan import ResolvedConfig, resolve_config, training_view
from dropkd.engine.pool import open_pool
from dropkd.engine.qat import prepare_qat
from dropkd.engine.shared import Shared
from dropkd.engine.teachers import open_expert
from dropkd.engine.unlabelled import require_teacher_terms
from dropkd.engine.weights import hash_weights
from dropkd.engine.wiring import CROSS_ENTROPY
from dropkd.errors import ConfigError
from dropkd.methods.options import spell_out_options
from dropkd.methods.registry import method_class
from dropkd.models import Network, build_network, native_input, wrap_model
from dropkd.models.stochastic_depth import build_dropping_network
from dropkd.models.teachers.ensemble import EnsembleTeacher
from dropkd.models.teachers.given import Given

__all__ = ["build_initial_student", "prepare_job"]

# The benchmarks whose methods warm up do so for 20 of 240 epochs.
_EPOCHS_TO_WARMUP = 12
# What of an answer can't be averaged over networks of different widths.
_OF_ONE_NETWORK = {"maps", "preactivations", "embedding"}


def prepare_job(
    config: Config,
    observer: Observer,
    *,
    student: nn.Module | None = None,
    teacher: Given | None = None,
    data: ImageData | None = None,
    shared: Shared | None = None,
    keeps_pixels: bool = True,
) -> Job:
    """Open the data, build the networks and the method, and decide what the configuration leaves open.

    Args:
        config: the configuration.
        observer: who is told.
        student: the student itself, where it is not to be built by ``config.student.name``.
        teacher: the teacher itself, where it is not to be opened from ``config.teacher.source``.
        data: the opened data set, where it is open already.
        shared: what other runs have opened already, and what they will find open.
        keeps_pixels: whether decoded images may be kept on disk.

    Raises:
        DropKDError: anything in the configuration, the data or the networks that the user has to mend.
    """
    if config.data.unlabelled is not None:
        require_teacher_terms(method_class(config.method.name))
    shared, departures = shared or Shared(), find_departures(config)
    device = choose_device(config.device)
    fabric = make_fabric(device, _choose_precision(config))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if data is None:
        data = shared.remember(("data", *_describe_data(config)), partial(_open_data, config, observer))
    unlabelled = shared.remember(
        ("unlabelled", str(config.data.unlabelled), *_describe_data(config)),
        partial(open_pool, config, data, observer),
    )
    packed = config.data.packed
    data, unlabelled = shared.remember(
        ("packed", packed, id(data), id(unlabelled)), partial(leave_packed, data, unlabelled, packed)
    )
    own_input = None if student is not None else native_input(config.student.name)
    if student is None and config.student.pretrained and own_input is None:
        observer.on_message(f"{config.student.name} has no published weights: it starts from random ones.")
        config = config.model_copy(update={"student": config.student.model_copy(update={"pretrained": False})})
    cpus = len(os.sched_getaffinity(0))
    resolved = resolve_config(config, data, native_input=own_input, cpus=cpus, unlabelled=unlabelled)
    _say_imbalance(config, resolved, data, observer)
    network, initial_weights = build_initial_student(resolved, data, student)
    expert = _open_expert(resolved, data, network, teacher, observer, shared)
    if data.multi_label and expert is not None:
        check_label_map(expert)
        expert.spec = replace(expert.spec, multi_label=True)
    distiller = Distiller(
        network,
        expert,
        resolved.method.name,
        options=resolved.method.options,
        weights=resolved.method.weights,
        warmup_epochs=resolved.method.warmup_epochs,
        label_smoothing=resolved.training.label_smoothing,
        targets=torch.from_numpy(data.train.targets),
        multi_label=data.multi_label,
        class_weights=class_weights(
            data.train.class_counts, resolved.training.class_weights, resolved.training.class_beta
        ),
    )
    if isinstance(expert, EnsembleTeacher) and not expert.each and distiller.method.teacher_reads & _OF_ONE_NETWORK:
        observer.on_message(
            f"Of an ensemble, {resolved.method.name} reads maps and embedding of its first member, "
            f"{expert.first.spec.name}."
        )
    _cap_warmups(resolved, distiller)
    _check_batch(resolved, distiller)
    _check_class_weights(resolved, distiller)
    resolved = _spell_out_method(resolved, distiller)
    if resolved.training.channels_last:
        distiller.to(memory_format=torch.channels_last)
    if resolved.training.compile:
        distiller.student.compile()
    view_size = training_view(
        network.spec.image_size, expert.spec.image_size if expert is not None else None, data.native_size
    )
    recipe = choose_recipe(resolved.data, data, view_size)
    resolved = spell_out_recipe(resolved, recipe)
    _warn_of_random_backbone(resolved, student is not None, observer)
    qat = prepare_qat(resolved.qat, resolved.training.epochs, network, observer)
    finetuning = FineTuning(distiller, resolved.finetune, resolved.training)
    if keeps_pixels:
        data, unlabelled = shared.remember(
            ("pixels", packed, resolved.data.packed_gb, id(data), id(unlabelled), recipe, view_size),
            partial(keep_decoded, resolved, data, unlabelled, recipe, view_size, observer),
        )
    job = Job(
        resolved, data, fabric, distiller, finetuning, recipe, view_size, initial_weights, unlabelled, shared, qat=qat
    )
    job.departures = departures
    return job


def _choose_precision(config: Config) -> str:
    """Return the precision of the run; half of it would round what is to be rounded to 256 levels once more."""
    precision = config.training.precision
    return "32" if config.qat.enabled and precision == "auto" else precision


def _describe_data(config: Config) -> tuple[object, ...]:
    """Return all that decides which images a data set has in which split."""
    data = config.data
    return str(data.path), config.split_seed, data.validation_fraction, data.skip_unreadable, data.verify


def _open_data(config: Config, observer: Observer) -> ImageData:
    data = open_data(
        config.data.path,
        seed=config.split_seed,
        validation_fraction=config.data.validation_fraction,
        skip_unreadable=config.data.skip_unreadable,
        progress=partial(observer.on_phase, "Reading images"),
        remembering=choose_remembering(config.data),
    )
    for note in data.notes:
        observer.on_message(note)
    return data


def _open_expert(
    config: ResolvedConfig, data: ImageData, student: Network, given: Given | None, observer: Observer, shared: Shared
) -> Network | None:
    """Return the teacher, opened where no other run has opened it for such a student."""

    def open_it() -> tuple[Network | None, Given | None]:
        # Opening it may build a network of random weights first. The method's own first weights are drawn after this,
        # and must be the same for a run that finds the teacher open.
        with torch.random.fork_rng(devices=[]):
            return open_expert(config, data, student, given, observer), given

    chosen = config.teacher.model_dump_json() if config.teacher is not None else None
    asked_for = (student.shapes.logits, student.spec.image_size, config.training.channels_last, config.device)
    return shared.remember(("teacher", chosen, id(given), *asked_for, *_describe_data(config)), open_it)[0]


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


def _warn_of_random_backbone(config: ResolvedConfig, is_given: bool, observer: Observer) -> None:
    """Warn where a probe, or frozen parts, are those of a network that has learned nothing yet."""
    asked = "a probe" if config.finetune.probe_epochs else "frozen parts" if config.finetune.freeze else None
    if asked and not is_given and not config.student.pretrained and config.student.checkpoint is None:
        observer.on_warning(
            f"{config.student.name} starts from random weights, so {asked} can only make it worse. Start it from "
            "trained ones: --pretrained, or --set student.checkpoint=FILE."
        )


def _check_class_weights(config: ResolvedConfig, distiller: Distiller) -> None:
    if config.training.class_weights != "none" and distiller.multi_label:
        raise ConfigError(
            f"'training.class_weights' is {config.training.class_weights!r}, which weighs images by their one class, "
            "and these have several labels each. Leave it at 'none'."
        )
    if config.training.class_weights != "none" and distiller.weights[CROSS_ENTROPY] == 0:
        raise ConfigError(
            f"'training.class_weights' is {config.training.class_weights!r}, but {config.method.name} gives the "
            "cross-entropy, which they are in, the weight 0. Show the classes evenly instead: --sampling balanced."
        )


def _say_imbalance(config: Config, resolved: ResolvedConfig, data: ImageData, observer: Observer) -> None:
    """Say what follows from uneven classes, and warn where they are evened out twice."""
    if resolved.training.select_by == "uar" and config.training.select_by == "auto":
        ratio = measure_imbalance(data.train.class_counts)
        observer.on_message(
            f"The classes are uneven (the largest has {ratio:.1f} times the training images of the smallest): the mean "
            "recall of the classes (UAR) picks the epoch. To pick by accuracy: --set training.select_by=accuracy."
        )
    if resolved.training.class_weights != "none" and resolved.data.sampling != "shuffle":
        observer.on_warning(
            f"Both data.sampling ({resolved.data.sampling}) and training.class_weights "
            f"({resolved.training.class_weights}) favour small classes: together they favour them twice."
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


def _evaluated_part(config: ResolvedConfig, data: ImageData) -> float | None:
    """Return the share of a frame that the student is judged by; None for what its published weights want.

    They want a centre crop since they were trained on parts of images. What learns from whole ones is shown whole ones.
    """
    learns_parts = choose_recipe(config.data, data, config.data.image_size).crop == "resized"
    return None if learns_parts else 1.0


def build_initial_student(
    config: ResolvedConfig, data: ImageData, given: nn.Module | None = None
) -> tuple[Network, str]:
    """Return a run's student as it is before the first step, and the SHA-256 of its weights."""
    # They depend on the seed alone, so runs of different methods start alike.
    torch.manual_seed(config.seed)
    network = _build_student(config, data, given)
    return network, hash_weights(network.model)


def _build_student(config: ResolvedConfig, data: ImageData, given: nn.Module | None) -> Network:
    chosen = config.student
    if given is not None and chosen.drop_path is not None:
        raise ConfigError(
            "'student.drop_path' is for models given by name; a module has the rates that it was built with."
        )
    if isinstance(given, Network):
        network = given
    elif given is not None:
        network = wrap_model(
            given, image_size=config.data.image_size, map_modules=chosen.map_modules, classes=data.classes
        )
    else:
        build = build_network if chosen.drop_path is None else partial(build_dropping_network, rate=chosen.drop_path)
        network = build(
            chosen.name,
            num_classes=len(data.classes),
            image_size=config.data.image_size,
            pretrained=chosen.pretrained and chosen.checkpoint is None,
            checkpoint=chosen.checkpoint,
            options=chosen.options,
            classes=data.classes,
            map_modules=chosen.map_modules,
            crop_fraction=_evaluated_part(config, data),
        )
    if network.shapes.logits != len(data.classes):
        raise ConfigError(f"The student has {network.shapes.logits} classes and the data {len(data.classes)}.")
    # Whoever opens its weights must know what its logits mean.
    network.spec = replace(network.spec, multi_label=data.multi_label, classes=data.classes)
    return network
