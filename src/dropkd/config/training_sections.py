"""How a run trains: the method, the optimiser and what is trained when."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from dropkd.config.fields import NonNegative, Patterns, Precision, Section

__all__ = ["FinetuneConfig", "MethodConfig", "QatConfig", "TrainingConfig"]


class MethodConfig(Section):
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


class TrainingConfig(Section):
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
        track_test: judge the test images after each epoch as well. No choice looks at that; it shows by how much the
            habit of picking the epoch on the test images would have made the figure look better.
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
    track_test: bool = False
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


class FinetuneConfig(Section):
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


class QatConfig(Section):
    """Quantisation-aware training: the student computes with rounded values and weights, as its int8 file will.

    Args:
        enabled: round the student, from ``start_epoch`` on. Its batch norms keep their statistics then. One of these
            epochs is picked, and the student as it was before is kept as ``float.safetensors``.
        start_epoch: so many first epochs train it as usual; None: none where it starts from a student that dropkd
            trained (``student: RUN``, or its file as ``student.checkpoint``), else four fifths of the epochs.
        weight_bits: bits of a weight. An int8 file stores them in 8.
    """

    enabled: bool = False
    start_epoch: int | None = Field(default=None, ge=0)
    weight_bits: int = Field(default=8, ge=4, le=8)

    @model_validator(mode="after")
    def _check_together(self) -> QatConfig:
        if not self.enabled and self != QatConfig.model_construct():
            raise ValueError("'qat.start_epoch' and 'qat.weight_bits' are of 'qat.enabled: true' (--qat)")
        return self
