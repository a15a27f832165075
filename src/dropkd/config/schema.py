"""The keys of a run's configuration, with their types, ranges and defaults.

A field that is None and whose text says *by the data* (or by another key) is filled in by the engine before
the first step, so the ``config.yaml`` of a run folder holds the value that was used.
"""

from __future__ import annotations

from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dropkd.config.augmentations import AugmentationName, find_augmentation

__all__ = ["Config", "DataConfig", "FinetuneConfig", "MethodConfig", "StudentConfig", "TeacherConfig", "TrainingConfig"]


def _read_image_size(value: Any) -> Any:
    wanted = "must be a whole number of pixels, or [height, width]"
    sides = value if isinstance(value, list | tuple) else (value,)
    if value is None:
        return None
    if len(sides) not in (1, 2) or not all(type(side) is int for side in sides):
        raise ValueError(wanted)
    if not all(1 <= side <= 4096 for side in sides):
        raise ValueError(f"{wanted}, between 1 and 4096")
    return tuple(sides) if isinstance(value, list | tuple) else value


def _read_range(value: Any, most: float = inf) -> Any:
    """Read [low, high]."""
    if value is None:
        return None
    sound = isinstance(value, list | tuple) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    if not sound or not 0 < value[0] <= value[1] <= most or value[1] == inf:
        raise ValueError(f"must be [low, high] with 0 < low <= high{'' if most == inf else f' <= {most:g}'}")
    return tuple(float(end) for end in value)


def _read_augmentation(value: Any) -> Any:
    return (find_augmentation(value) or value) if isinstance(value, str) else value


def _read_switch(value: Any) -> Any:
    # YAML reads a bare on and off as true and false.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _read_precision(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _read_patterns(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ImageSize = Annotated[int | tuple[int, int] | None, BeforeValidator(_read_image_size)]
Augmentation = Annotated[AugmentationName, BeforeValidator(_read_augmentation)]
Range = Annotated[tuple[float, float] | None, BeforeValidator(_read_range)]
ShareRange = Annotated[tuple[float, float] | None, BeforeValidator(partial(_read_range, most=1))]
Precision = Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(_read_precision)]
# One pattern need not be a list.
Patterns = Annotated[list[str], BeforeValidator(_read_patterns)]
CacheMode = Annotated[Literal["auto", "on", "off"], BeforeValidator(_read_switch)]
# Paths come as text from YAML, which strict checking would refuse.
FilePath = Annotated[Path, Field(strict=False)]


class _Section(BaseModel):
    """Refuses unknown keys, takes no text for a number, and holds no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """The images and what is done to them before training.

    Args:
        path: folder of images, ``train/CLASS/*`` and ``test/CLASS/*`` or just ``CLASS/*``; a manifest, a published set
            in its own layout, ``torchvision:NAME``, ``hf:NAME``, or shards (see docs/data.md).
        image_size: pixels that the student is fed, one number or [height, width]; None: by the data.
        augmentation: the recipe of random changes by its name; ``auto`` is crop-flip for small images and resized-crop
            for large ones. The keys from ``crop`` to ``erase_scale`` are its parts; None: by the recipe.
        crop: ``shift``, ``resized`` or ``centre``.
        crop_padding: how far ``shift`` moves images, in pixels of the view.
        crop_scale: [low, high], the share of the image's area that ``resized`` shows.
        crop_ratio: [low, high], the shape of what ``resized`` shows, as width over height.
        interpolation: ``bilinear``, ``bicubic``, or one of the two at ``random``.
        flip: mirror images left to right at random.
        noise_probability: share of images that get Gaussian noise before they are resized.
        flip_or_noise: an image gets one of the two at most.
        operations: ``trivial`` (TrivialAugment), ``rand`` (RandAugment) or ``none``.
        rand_ops: number of RandAugment's operations.
        rand_magnitude: their strength, 0 to 30.
        color_jitter: strength of random brightness, contrast and saturation; 0 is off.
        erase_probability: share of images that lose a random rectangle.
        erase_scale: [low, high], the rectangle's share of the view's area.
        unlabelled: images without labels, for the teacher's terms alone: a folder of any depth, or any form that
            ``path`` may have, whose labels are not read.
        unlabelled_ratio: unlabelled images for each labelled one in a batch; ``batch_size`` counts the labelled ones.
        validation_fraction: share of the training images that picks the epoch where there is no val folder; with 0
            all are trained on and the last epoch is kept.
        sampling: how often an epoch shows the images of each class: ``shuffle`` each image once, ``balanced`` all
            classes equally often, ``square-root`` in proportion to the square root of their counts.
        skip_unreadable: leave unreadable files out instead of stopping.
        workers: processes that read images; None: by the data.
        distinct_views: how many random views there are of each image: epoch e shows view e modulo this number (and,
            with mixup, CutMix or uneven sampling, repeats that epoch's order and mixing). None: each epoch has its own.
        view_seed: seed of the views; None: that of the run. Runs that share it and ``split_seed`` share a teacher's
            cache, whatever their own seeds.
        split_seed: seed that picks the images of splits that are cut; None: that of the run.
    """

    path: FilePath
    image_size: ImageSize = None
    augmentation: Augmentation = "auto"
    crop: Literal["shift", "resized", "centre"] | None = None
    crop_padding: int | None = Field(default=None, ge=0)
    crop_scale: ShareRange = None
    crop_ratio: Range = None
    interpolation: Literal["bilinear", "bicubic", "random"] | None = None
    flip: bool | None = None
    noise_probability: Fraction | None = None
    flip_or_noise: bool | None = None
    operations: Literal["none", "trivial", "rand"] | None = None
    rand_ops: int | None = Field(default=None, ge=0, le=100)
    rand_magnitude: int | None = Field(default=None, ge=0, le=30)
    color_jitter: Fraction | None = None
    erase_probability: Fraction | None = None
    erase_scale: ShareRange = None
    unlabelled: FilePath | None = None
    unlabelled_ratio: float = Field(default=1.0, gt=0)
    validation_fraction: float = Field(default=0.1, ge=0, le=0.5)
    sampling: Literal["shuffle", "balanced", "square-root"] = "shuffle"
    skip_unreadable: bool = False
    workers: int | None = Field(default=None, ge=0)
    distinct_views: int | None = Field(default=None, ge=1)
    view_seed: int | None = Field(default=None, ge=0, lt=2**32)
    split_seed: int | None = Field(default=None, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check_unlabelled(self) -> DataConfig:
        if self.unlabelled is None and self.unlabelled_ratio != 1:
            raise ValueError(
                f"'data.unlabelled_ratio' is {self.unlabelled_ratio:g}, but there are no unlabelled images: name them "
                "by 'data.unlabelled' (--unlabelled)"
            )
        return self


class StudentConfig(_Section):
    """The network that is trained.

    Args:
        name: a timm, torchvision or dropkd model name, ``hf:ORG/NAME`` or ``hf:FOLDER``, or ``transformers/TYPE`` with
            its configuration as options.
        pretrained: start from the published weights where there are any.
        checkpoint: start from this file instead.
        options: keyword arguments of the model's constructor, e.g. ``{patch_size: 4}``.
        drop_path: share of the images for which a block is left out in training (stochastic depth); that of the last
            block, it rises with the depth. None: the model's own default, mostly 0.
        map_modules: names of the modules whose outputs are the feature maps; None: found by dropkd.
    """

    name: str
    pretrained: bool = True
    checkpoint: FilePath | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    map_modules: list[str] | None = None


class TeacherConfig(_Section):
    """The frozen network that is learned from.

    Args:
        source: ``NAME`` (its published weights), ``NAME:CHECKPOINT``, the folder of an earlier run, a file that dropkd
            wrote, a TorchScript or ONNX file (logits alone), ``hf:ORG/NAME`` or ``hf:FOLDER`` (a repository of timm's
            or of transformers' image classifiers; ``?revision=``), ``clip:MODEL/WEIGHTS``, ``clip:MODEL:FILE`` or
            ``clip:hf:ORG/NAME`` (zero-shot; ``?prompts=FILE&classes=FILE``), or several of these as ``ensemble:A+B``.
        image_size: pixels that a ``NAME:CHECKPOINT`` is fed, one number or [height, width]; None: what the file says,
            or else the better of the model's published input and the student's on your images. A TorchScript or ONNX
            file that does not say it is fed what the student is.
        map_modules: names of the modules whose outputs are the feature maps; None: found by dropkd.
        label_map: a CSV file with the columns ``teacher`` and ``own`` that says which of its classes stand for which of
            the data's, for a teacher of other classes or of another order.
        each: of an ensemble, learn from each network by terms of its own (``logit_1``, ``logit_2``) in place of their
            mean. A term's default weight is the method's own over the number of networks.
    """

    source: str
    image_size: ImageSize = None
    map_modules: list[str] | None = None
    label_map: FilePath | None = None
    each: bool = False


class CacheConfig(_Section):
    """The teacher's answers, kept on disk so that it is asked once about each view of an image.

    Args:
        mode: ``auto`` takes a cache that is there, and builds one where ``data.distinct_views`` makes that cheaper
            than asking the teacher in every step; ``on`` builds one in any case; ``off`` asks in every step.
        folder: of all caches; None: ``teachers`` in the environment's ``DROPKD_CACHE``, or in
            ``~/.cache/dropkd``.
        number: what maps are kept in; ``int8`` has a scale for each image and channel. Logits and embeddings are kept
            in float16, or in float32 where maps are.
        channels: principal components that the maps' channels are reduced to; None keeps them as they are.
        top_logits: how many of the largest logits are kept, beside the sum of the others' probabilities; None keeps
            all.
        compared: random entries that are compared with the teacher itself at the start of a run.
    """

    mode: CacheMode = "auto"
    folder: FilePath | None = None
    number: Literal["float16", "float32", "int8"] = "float16"
    channels: int | None = Field(default=None, ge=1)
    top_logits: int | None = Field(default=None, ge=1)
    compared: int = Field(default=16, ge=0)


class MethodConfig(_Section):
    """The distillation method; every further key is an option of the method's constructor.

    The options are checked against the constructor by ``dropkd.methods.registry``, which knows the methods.

    Args:
        name: the method, ``plain`` for training without a teacher.
        weights: weight of each loss term by its name, and of ``cross_entropy``; left out: its default.
        warmup_epochs: epochs over which the method's terms grow from 0 to their weights, one number or one for each
            term; None: the method's own, at most a twelfth of the epochs.
    """

    model_config = ConfigDict(extra="allow")

    name: str = "plain"
    weights: dict[str, NonNegative] = Field(default_factory=dict)
    warmup_epochs: NonNegative | dict[str, NonNegative] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the method's constructor."""
        return dict(self.model_extra or {})


class TrainingConfig(_Section):
    """How the student is trained.

    Args:
        epochs: passes over the training images; None: by the data.
        batch_size: images a step; None: by the data.
        optimizer: None: by the student.
        lr: peak learning rate; None: by optimizer and batch size.
        weight_decay: None: by the optimizer.
        momentum: of SGD.
        nesterov: Nesterov's form of SGD's momentum.
        schedule: how the learning rate falls; ``step`` needs ``milestones``, ``exponential`` a ``decay_factor``.
        final_lr: where ``cosine`` ends; parts of the network that have a peak of their own end in proportion.
        warmup_epochs: epochs over which the learning rate grows from near 0; None: by the epochs.
        milestones: epochs at which ``step`` multiplies the rate by ``decay_factor``.
        decay_factor: see ``milestones``; with ``exponential`` it multiplies the rate after each epoch.
        class_weights: of the classes in the cross-entropy: ``balanced`` in inverse proportion to their training images,
            ``effective`` to the effective number of those; the mean over the images is 1 either way.
        class_beta: of ``effective``; 0 gives equal weights, and near 1 they are those of ``balanced``.
        patience: stop after so many epochs in a row without a better validation score; None: never. Epochs of a probe
            and those before ``finetune.unfreeze_epoch`` are not counted.
        select_by: the validation score that picks the epoch, and that ``patience`` looks at; ``auto`` is the mean
            recall of the classes (UAR) where the largest has more than 3 times the training images of the smallest,
            else accuracy; where images have several labels it is ``map``, the mean average precision. Ties go to the
            lower loss.
        label_smoothing: share of the label that is spread over all classes.
        mixup: alpha of mixup; 0 is off.
        cutmix: alpha of CutMix; 0 is off. With both, each batch draws one.
        precision: ``auto`` is bf16 where the device computes in it fast, else 32.
        gradient_clip: largest norm of the gradient; None is off.
        accumulate: batches whose gradients are added up before a step.
        ema_decay: decay of the running average of the weights, which is then judged and kept; 0 is off.
        ema_warmup: keep less of the average in the first steps, ``(1 + n) / (10 + n)`` of it at most after n, so that a
            short run's average is not that of its first weights.
        channels_last: the memory layout that convolutions are fastest in, on CPUs too.
        compile: run the student through ``torch.compile``.
        checkpoint_minutes: a checkpoint is written after each epoch, and this often within one.
    """

    epochs: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    optimizer: Literal["adamw", "sgd"] | None = None
    lr: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    schedule: Literal["cosine", "step", "exponential", "constant"] = "cosine"
    final_lr: NonNegative = 0.0
    warmup_epochs: float | None = Field(default=None, ge=0)
    milestones: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    decay_factor: float = Field(default=0.1, gt=0, lt=1)
    class_weights: Literal["none", "balanced", "effective"] = "none"
    class_beta: float = Field(default=0.999, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    select_by: Literal["auto", "accuracy", "uar", "loss", "map"] = "auto"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    precision: Precision = "auto"
    gradient_clip: float | None = Field(default=None, gt=0)
    accumulate: int = Field(default=1, ge=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    ema_warmup: bool = True
    channels_last: bool = True
    compile: bool = False
    checkpoint_minutes: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _check_together(self) -> TrainingConfig:
        if self.schedule == "step" and not self.milestones:
            raise ValueError("'training.schedule' is 'step', which needs 'training.milestones', as in [15, 18]")
        if self.schedule == "exponential" and "decay_factor" not in self.model_fields_set:
            raise ValueError("'training.schedule' is 'exponential', which needs 'training.decay_factor', as in 0.9")
        if self.final_lr and self.schedule != "cosine":
            raise ValueError(
                f"'training.final_lr' is where a cosine ends, but 'training.schedule' is {self.schedule!r}"
            )
        if self.lr is not None and self.final_lr > self.lr:
            raise ValueError(f"'training.final_lr' ({self.final_lr:g}) is above 'training.lr' ({self.lr:g})")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"'training.milestones' must grow, got {self.milestones}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("'training.nesterov' needs a 'training.momentum' above 0")
        epochs, warmup = self.epochs, self.warmup_epochs
        if epochs is not None and warmup is not None and warmup > epochs:
            raise ValueError(f"'training.warmup_epochs' ({warmup:g}) is more than 'training.epochs' ({epochs})")
        return self


class FinetuneConfig(_Section):
    """How a network that starts from trained weights is led to new classes; by default all of it is trained alike.

    Args:
        probe_epochs: so many first epochs train the classifier alone (and a method's projectors), on a backbone that
            rests: its batch norms keep their statistics, its dropout and stochastic depth are off. They are part of
            ``training.epochs``. Then everything is trained, with the warm-up and the schedule of ``training`` over the
            epochs that are left; ``training.milestones`` count from the first epoch of all.
        probe_lr: peak rate of the probe, which falls to 0 along half a cosine, without a warm-up; None: the rate for
            random weights, by the optimizer and the batch size.
        head_lr: peak rate of the classifier after the probe; None: that of ``training.lr``.
        backbone_lr: peak rate of everything before it, of its last layer if there is a ``layer_decay``; None: that of
            ``training.lr``.
        layer_decay: each layer's rate is that of the one above it times this; 1 is off. A layer is what timm groups
            as one in its models, a block elsewhere; the classifier is the last layer, and has ``head_lr`` undiminished.
        freeze: names of modules or parameters that are not trained, with * for any letters; ``backbone`` is all but the
            classifier, ``embeddings`` what comes before the first block. Batch norms in a frozen module keep their
            statistics, and its dropout rests. With ``backbone`` for good, ``training.lr`` is by default that for random
            weights.
        unfreeze_epoch: after so many epochs the frozen are trained as well, at the rate that the schedule has
            then; None: never.
    """

    probe_epochs: int = Field(default=0, ge=0)
    probe_lr: float | None = Field(default=None, gt=0)
    head_lr: float | None = Field(default=None, gt=0)
    backbone_lr: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    freeze: Patterns = Field(default_factory=list)
    unfreeze_epoch: int | None = Field(default=None, ge=1)

    @property
    def differs_from_default(self) -> bool:
        """Whether anything is not trained like the rest from the first step on."""
        return self != FinetuneConfig()

    @model_validator(mode="after")
    def _check_together(self) -> FinetuneConfig:
        if self.probe_lr is not None and not self.probe_epochs:
            raise ValueError("'finetune.probe_lr' is the rate of a probe: give 'finetune.probe_epochs' as well")
        if self.unfreeze_epoch is not None and not self.freeze:
            raise ValueError("'finetune.unfreeze_epoch' lets go what 'finetune.freeze' names, and that names nothing")
        if self.unfreeze_epoch is not None and self.unfreeze_epoch <= self.probe_epochs:
            raise ValueError(
                f"'finetune.unfreeze_epoch' ({self.unfreeze_epoch}) is in the probe ('finetune.probe_epochs' is "
                f"{self.probe_epochs}), which freezes all but the classifier anyway"
            )
        return self


class Config(_Section):
    """Everything that decides what a run does.

    Args:
        data: the images.
        student: the network that is trained.
        teacher: the network that is learned from; None for methods without one.
        teacher_check: what a teacher near chance on the data does: stop the run, warn, or nothing.
        cache: the teacher's answers on disk.
        method: the distillation method.
        training: optimiser, schedule and the like.
        finetune: which parts are trained when, and at which rate.
        seed: of every random number.
        device: ``auto`` is the first CUDA device, else the CPU.
        threads: CPU threads; None: as torch decides.
        baseline: also train the same student alone, for comparison.
        output: run folder; None: a new one under ``runs/``.
        loggers: also log to these.
    """

    data: DataConfig
    student: StudentConfig
    teacher: TeacherConfig | None = None
    teacher_check: Literal["stop", "warn", "off"] = "stop"
    cache: CacheConfig = Field(default_factory=CacheConfig)
    method: MethodConfig = Field(default_factory=MethodConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int | None = Field(default=None, ge=1)
    baseline: bool = False
    output: FilePath | None = None
    loggers: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(default_factory=list)

    @property
    def split_seed(self) -> int:
        """The seed that picks the images of splits that are cut."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def view_seed(self) -> int:
        """The seed of the random views."""
        return self.seed if self.data.view_seed is None else self.data.view_seed
