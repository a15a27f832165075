"""What a configuration leaves open, decided by the data and the networks before the first step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from dropkd.config import Config, DataConfig, TrainingConfig
from dropkd.config.mistakes import Origins, describe_mistakes
from dropkd.data import ImageData, UnlabelledImages, default_image_size
from dropkd.engine.imbalance import is_imbalanced
from dropkd.engine.multi_label import check_cache, choose_score
from dropkd.errors import ConfigError
from dropkd.models import read_spec

__all__ = [
    "ResolvedConfig",
    "ResolvedData",
    "ResolvedTraining",
    "evaluation_frame",
    "resolve_config",
    "starts_from_student",
    "training_view",
]

Size = tuple[int, int]

# Enough passes for a small network to converge: about this many images seen in all, within the bounds below.
_IMAGES_SEEN = 600_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 30, 100

# Peak rates at batch 128: AdamW's grows with the square root of the batch, SGD's in proportion.
_RATES = {("adamw", False): 2e-3, ("adamw", True): 3e-4, ("sgd", False): 0.1, ("sgd", True): 0.01}
# Of the epochs, those in which a student that starts from scratch is rounded; of the rate of trained weights, that of a
# student which only has to bear being rounded.
_QAT_SHARE, _QAT_RATE, _FEWEST_QAT_EPOCHS = 0.2, 0.3, 5
_WEIGHT_DECAY = {"adamw": 0.05, "sgd": 5e-4}


class ResolvedData(DataConfig):
    """:class:`DataConfig` with nothing left open."""

    image_size: Size
    workers: int = Field(ge=0)


class ResolvedTraining(TrainingConfig):
    """:class:`TrainingConfig` with nothing left open."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["adamw", "sgd"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_epochs: float = Field(ge=0)


class ResolvedConfig(Config):
    """:class:`Config` with nothing left open: what ``config.yaml`` of a run folder holds."""

    data: ResolvedData
    training: ResolvedTraining


def resolve_config(
    config: Config,
    data: ImageData,
    *,
    native_input: Size | None,
    cpus: int,
    unlabelled: UnlabelledImages | None = None,
) -> ResolvedConfig:
    """Fill in what the user left open.

    Args:
        config: the user's configuration.
        data: the opened data set.
        native_input: (height, width) that the student's published weights were trained at, or None.
        cpus: processor cores that may be used for loading images.
        unlabelled: the opened unlabelled images, or None.

    Raises:
        ConfigError: what was given does not go with what was filled in.
    """
    tree = config.model_dump()
    tree["data"]["image_size"] = _image_size(config, data, native_input)
    if config.data.workers is None:
        # Packed images need no processes: a batch is a slice of memory.
        splits = [data.train] if unlabelled is None else [data.train, unlabelled.split]
        packed = all(split.pack is not None for split in splits)
        tree["data"]["workers"] = 0 if packed else min(4, max(0, cpus - 1))
    tree["training"].update(_training_defaults(config, len(data.train)))
    if data.multi_label:
        check_cache(config)
    tree["qat"]["start_epoch"] = _choose_qat_start(config, tree["training"]["epochs"])
    tree["finetune"]["probe_lr"] = _choose_probe_rate(config, tree["training"])
    tree["training"]["select_by"] = _choose_score(config.training, data)
    resolved = _check(tree)
    _check_epochs(resolved)
    _check_qat(resolved)
    return resolved


def _check(tree: dict[str, object]) -> ResolvedConfig:
    try:
        return ResolvedConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(describe_mistakes(error, Origins()))) from None


def _check_epochs(config: ResolvedConfig) -> None:
    """Raise where a probe or frozen parts leave no epochs for what comes after them."""
    epochs, warmup = config.training.epochs, config.training.warmup_epochs
    probe, unfreeze = config.finetune.probe_epochs, config.finetune.unfreeze_epoch
    if probe and probe >= epochs:
        raise ConfigError(
            f"'finetune.probe_epochs' ({probe}) leaves none of the {epochs} epochs ('training.epochs') to train the "
            "whole network in. To train the classifier alone: --set finetune.freeze=backbone."
        )
    if unfreeze is not None and unfreeze >= epochs:
        raise ConfigError(
            f"'finetune.unfreeze_epoch' ({unfreeze}) comes after the last of the {epochs} epochs ('training.epochs'). "
            "Leave it out to keep the frozen parts as they are."
        )
    if warmup > epochs - probe:
        raise ConfigError(
            f"'training.warmup_epochs' ({warmup:g}) is more than the {epochs - probe} epochs that "
            f"'finetune.probe_epochs' ({probe}) leaves."
        )


def _check_qat(config: ResolvedConfig) -> None:
    qat, epochs = config.qat, config.training.epochs
    if qat.enabled and (qat.start_epoch or 0) >= epochs:
        raise ConfigError(
            f"'qat.start_epoch' ({qat.start_epoch}) leaves none of the {epochs} epochs ('training.epochs') to train "
            "the rounded student in."
        )
    if qat.enabled and config.training.compile:
        raise ConfigError("A rounded student (--qat) can't be compiled: leave 'training.compile' off.")


def _choose_qat_start(config: Config, epochs: int) -> int | None:
    """Return the epoch from which on the student is rounded: the first of a student that has been trained."""
    if not config.qat.enabled or config.qat.start_epoch is not None:
        return config.qat.start_epoch
    return 0 if starts_from_student(config) else epochs - max(1, round(_QAT_SHARE * epochs))


def starts_from_student(config: Config) -> bool:
    """Whether the weights that a run starts from are those of a student that dropkd trained."""
    checkpoint = config.student.checkpoint
    return checkpoint is not None and read_spec(checkpoint) is not None


def _choose_probe_rate(config: Config, training: Mapping[str, Any]) -> float | None:
    """Return the peak rate of the classifier that is trained alone: it starts from random weights."""
    if config.finetune.probe_lr is not None or not config.finetune.probe_epochs:
        return config.finetune.probe_lr
    return _rate(training["optimizer"], False, training["batch_size"] * config.training.accumulate)


def _choose_score(training: TrainingConfig, data: ImageData) -> str:
    """Return the validation score that picks the epoch; ``auto`` where there are no validation images."""
    chosen = training.select_by
    if data.val is None:
        asked = "patience" if training.patience is not None else "select_by" if chosen != "auto" else None
        if asked is not None:
            raise ConfigError(
                f"'training.{asked}' needs validation images, and there are none: all training images are trained on. "
                "Give the data a val split, or let one be cut with --set data.validation_fraction=0.1."
            )
        return chosen
    by_labels = choose_score(chosen, data.multi_label)
    if by_labels is not None or chosen != "auto":
        return by_labels or chosen
    return "uar" if is_imbalanced(data.train) else "accuracy"


def training_view(student: Size, teacher: Size | None, native: Size) -> Size:
    """Return the (height, width) of the training views, which both networks see and resize to their own input.

    It is the larger of the two inputs, but a view is not blown up past the images' own size for the teacher's sake:
    that network enlarges what it gets.

    Example:
        >>> training_view((28, 28), (224, 224), native=(28, 28))
        (28, 28)
        >>> training_view((224, 224), (336, 336), native=(500, 400))
        (336, 336)
    """
    if teacher is None:
        return student
    height, width = _fit_inside(teacher, native)
    return max(student[0], height), max(student[1], width)


def evaluation_frame(size: Size, crop_fraction: float, native: Size | None = None) -> Size:
    """Return the (height, width) of the frame whose centre crop has a network's input size.

    Args:
        size: the network's input.
        crop_fraction: share of the frame, along each side, that the network is shown.
        native: the images' own size where the frame must not be larger.

    Example:
        >>> evaluation_frame((224, 28), 0.875), evaluation_frame((224, 28), 0.9)
        ((256, 32), (249, 31))
    """
    frame = _frame_side(size[0], crop_fraction), _frame_side(size[1], crop_fraction)
    return frame if native is None else _fit_inside(frame, native)


def _frame_side(side: int, crop_fraction: float) -> int:
    whole = math.ceil(side / crop_fraction)
    # Of 32 pixels 0.9 are 29, which would have to be shrunk to 28.
    return whole if round(whole * crop_fraction) <= side else whole - 1


def _fit_inside(size: Size, native: Size) -> Size:
    scale = min(1.0, native[0] / size[0], native[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _image_size(config: Config, data: ImageData, native_input: Size | None) -> Size:
    given = config.data.image_size
    if given is None:
        return default_image_size(data.native_size, native_input if config.student.pretrained else None)
    return (given, given) if isinstance(given, int) else given


def _training_defaults(config: Config, images: int) -> dict[str, object]:
    training = config.training
    epochs = training.epochs or min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_IMAGES_SEEN / images)))
    is_refined = config.qat.enabled and config.qat.start_epoch in (None, 0) and starts_from_student(config)
    if is_refined and training.epochs is None:
        epochs = max(_FEWEST_QAT_EPOCHS, round(epochs / 10))
    batch = min(training.batch_size or (64 if images < 4_000 else 128), images)
    optimizer = training.optimizer or "adamw"
    # Where the backbone stays as it is, all that is trained is the classifier, whose weights are random.
    is_probe = "backbone" in config.finetune.freeze and config.finetune.unfreeze_epoch is None
    starts_trained = (config.student.pretrained or config.student.checkpoint is not None) and not is_probe
    rate = _rate(optimizer, starts_trained, batch * training.accumulate) * (_QAT_RATE if is_refined else 1)
    # Over the epochs in which everything is trained.
    whole = max(1, epochs - config.finetune.probe_epochs)
    return {
        "epochs": epochs,
        "batch_size": batch,
        "optimizer": optimizer,
        "lr": training.lr if training.lr is not None else rate,
        "weight_decay": training.weight_decay if training.weight_decay is not None else _WEIGHT_DECAY[optimizer],
        "warmup_epochs": training.warmup_epochs if training.warmup_epochs is not None else min(5.0, whole / 10),
    }


def _rate(optimizer: str, starts_trained: bool, batch: int) -> float:
    """Return the peak rate for weights that are trained already, or random."""
    scale = batch / 128
    rate = _RATES[optimizer, starts_trained] * (math.sqrt(scale) if optimizer == "adamw" else scale)
    return float(f"{rate:.3g}")
