"""Student and method as one trainable module, with the frozen teacher outside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from dropkd.contracts import NO_LABEL, Batch, Outputs, Pair
from dropkd.engine.unlabelled import clear_shares, give_classes, require_teacher_terms
from dropkd.engine.wiring import CROSS_ENTROPY, as_student, as_teacher, check_reads, resolve_warmups, resolve_weights
from dropkd.errors import ConfigError, ModelError
from dropkd.functional.labels import label_loss
from dropkd.functional.precision import without_autocast
from dropkd.methods.method import Method
from dropkd.methods.registry import build_method
from dropkd.models import Network
from dropkd.models.teachers.ensemble import EnsembleTeacher
from dropkd.models.teachers.given import Teachers

__all__ = ["Distiller", "Losses"]


class Losses(NamedTuple):
    """What one step of distillation gives.

    Args:
        loss: the scalar to call ``backward()`` on: the sum of ``weighted``.
        raw: each term, unweighted, the cross-entropy among them.
        weighted: each term times its weight and warm-up.
        logits: (B, K), the student's, first view.
        teacher_logits: (B, K'), the teacher's, first view; None without a teacher.
    """

    loss: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]
    logits: Tensor
    teacher_logits: Tensor | None


class Distiller(nn.Module):
    """Distils a teacher into a student inside any training loop.

    ``parameters()``, ``state_dict()`` and ``train()`` cover the student and the method's projectors, so optimise, clip,
    wrap and checkpoint this module as a whole. The teacher is kept outside: always in eval mode, never with gradients,
    never in a checkpoint; it follows ``to(device)``.

    Images without a label have the target -1. The cross-entropy passes over them and the method's terms see all images;
    a term that reads the class takes the one that the teacher finds most probable.

    Args:
        student: a model name, an ``nn.Module`` or a :class:`~dropkd.models.Network`.
        teacher: a model name with its pretrained weights, ``NAME:CHECKPOINT``, a run folder, a TorchScript or ONNX
            file, ``hf:ORG/NAME``, ``clip:MODEL/WEIGHTS``, several of these as ``ensemble:A+B``, an ``nn.Module``, a
            :class:`~dropkd.models.Network`, a function from images to logits, or None for methods without a teacher.
            From a list of these it learns by terms for each (``logit_1``, ``logit_2``), in place of their mean.
        method: a method's name or a :class:`~dropkd.methods.Method` built for this pair.
        num_classes: classes of the task; needed where the student is given by name.
        image_size: height and width (or one number for both) that the student is fed; needed where it is not a
            ``Network``. A module given as such gets the images as they come; a model given by name wants RGB in 0..1
            and normalises them itself.
        options: the method's options, as in ``dropkd methods NAME``.
        weights: weights of the terms and of ``cross_entropy``, where they differ from the method's defaults.
        warmup_epochs: epochs over which the weights of the method's terms rise linearly from
            ``1 / warmup_epochs`` to 1, one number or one for each term; None: the method's own. The cross-entropy has
            none.
        label_smoothing: share of the target spread over all classes, in the cross-entropy alone.
        targets: (N,) int64, the class of each training sample, for methods with a memory by sample.
        multi_label: whether images have several labels, or none: ``target`` is then (B, K) of 0 and 1, and the
            cross-entropy is binary, a mean over classes.
        class_weights: (K,), the weight of each class in the cross-entropy, whose mean is then taken over the weights
            of the batch, as ``torch.nn.functional.cross_entropy`` does.

    Raises:
        ConfigError: an unknown method, option or term; a method that needs a teacher where none is given, or one class
            for each image where there are several.
        ModelError: a network that can't be built, or a teacher of other classes where a term compares them.

    Example:
        >>> import torch, dropkd
        >>> teacher = dropkd.models.build_network("cifar_resnet20", num_classes=10, image_size=(32, 32))
        >>> distiller = dropkd.Distiller("cifar_resnet8", teacher, "kd", num_classes=10, image_size=32)
        >>> losses = distiller(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))
        >>> sorted(losses.raw)
        ['cross_entropy', 'logit']
    """

    class_weights: Tensor | None

    def __init__(
        self,
        student: str | nn.Module,
        teacher: Teachers | None = None,
        method: str | Method = "dropkd",
        *,
        num_classes: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        warmup_epochs: float | Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        targets: Tensor | None = None,
        multi_label: bool = False,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.student = as_student(student, num_classes, size)
        expert = None if teacher is None else as_teacher(teacher, self.student)
        # In a tuple, so that it is no submodule: not trained, not saved, not wrapped.
        self._teacher = () if expert is None else (expert.eval().requires_grad_(False),)
        members = expert.list_members() if isinstance(expert, EnsembleTeacher) and expert.each else ()
        for network in members or (expert,):
            check_reads(method, network)
        pair = self._make_pair(expert, targets, multi_label)
        pair = replace(pair, members=tuple(self._make_pair(member, targets, multi_label) for member in members))
        if members and not isinstance(method, str):
            raise ConfigError(
                f"{type(method).__name__} is built already, so it can't be built for each of {len(members)} teachers. "
                "Give the method's name instead."
            )
        self.method = build_method(method, pair, options or {}) if isinstance(method, str) else method
        if self.method.pair.multi_label != multi_label:
            raise ConfigError(
                f"{type(self.method).__name__} was built for a Pair with multi_label={not multi_label}, and the "
                f"distiller is told multi_label={multi_label}. Say the same to both."
            )
        self.weights = resolve_weights(self.method, weights or {})
        self.method.restrict_terms([name for name in self.method.terms if self.weights[name] != 0])
        self.warmups = resolve_warmups(self.method, warmup_epochs)
        self.label_smoothing, self.multi_label = label_smoothing, multi_label
        self._has_seen_labels = False
        # Follows the device; what is known from the data needs no place in a checkpoint.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._check_teacher()

    @property
    def teacher(self) -> Network | None:
        """The frozen teacher, or None."""
        return self._teacher[0] if self._teacher else None

    def _make_pair(self, expert: Network | None, targets: Tensor | None, multi_label: bool) -> Pair:
        shapes, norms = (expert.shapes, expert.norms) if expert is not None else (None, ())
        return Pair(self.student.shapes, shapes, self.student.shapes.logits, targets, norms, multi_label)

    def _check_teacher(self) -> None:
        method, teacher = type(self.method).__name__, self.teacher
        if teacher is None:
            if self.method.teacher_reads:
                raise ConfigError(f"{method} needs a teacher and none was given. Name one with --teacher.")
            return
        compared = self.method.active & self.method.label_space_terms
        if compared and teacher.shapes.logits != self.student.shapes.logits:
            flags = " ".join(f"--set method.weights.{name}=0" for name in sorted(compared))
            way_out = f", or keep its feature terms only with {flags}" if self.method.active - compared else ""
            raise ModelError(
                f"The teacher has {teacher.shapes.logits} classes and the data {self.student.shapes.logits}, but "
                f"{method} compares them class by class ({', '.join(sorted(compared))}). Give the teacher a head for "
                f"these classes first, `dropkd train DATA --model {teacher.spec.name} --output RUN`, and pass "
                f"`--teacher RUN`; or say by --label-map which of its classes stand for which of yours{way_out}."
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for teacher in self._teacher:
            teacher._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @torch.no_grad()
    def ask_teacher(self, images: Tensor, also: Collection[str] = ()) -> Outputs | None:
        """Return the teacher's answer without gradients, or None where the method reads nothing of a teacher.

        Args:
            images: (V * B, 3, H, W), as in :meth:`forward`.
            also: fields of the answer that are wanted beside those that the method reads.
        """
        teacher = self.teacher
        if teacher is None or not self.method.teacher_reads:
            return None
        if teacher.training:  # somebody called train() on it from outside
            teacher.eval()
        # crop=False: it sees the very view that the student sees, not its centre.
        answer: Outputs = teacher(images, **_find_wanted(self.method.teacher_reads | set(also)), crop=False)
        return answer

    def forward(
        self,
        images: Tensor,
        target: Tensor,
        index: Tensor | None = None,
        epoch: int = 0,
        soft_target: Tensor | None = None,
        teacher_outputs: Outputs | None = None,
    ) -> Losses:
        """Return the losses of a batch.

        Args:
            images: (V * B, 3, H, W), the views that the method asks for one after another; V is 1 for most.
            target: (V * B,) int64, the classes, or with ``multi_label`` (V * B, K) of 0 and 1; -1 for an image without
                a label.
            index: (V * B,) int64, the samples' numbers; counted from 0 where not given, which methods that remember
                samples refuse.
            epoch: epoch, counted from 0.
            soft_target: (V * B, K), class shares under mixup; those of an image without a label are not read.
            teacher_outputs: the teacher's answer where it is already known, so that the teacher isn't run.

        Raises:
            ConfigError: the method remembers samples, and no numbers are given; it can't use images without a label;
                or the labels are not (V * B, K) with ``multi_label``.
        """
        if index is None and self.method.reads_index:
            raise ConfigError(
                f"{type(self.method).__name__} remembers each training sample: pass its number in the data set, "
                "distiller(images, target, index)."
            )
        self._check_labels(target, (len(images), self.student.shapes.logits))
        teacher = self.ask_teacher(images) if teacher_outputs is None else teacher_outputs
        student = self.ask_student(images)
        index = torch.arange(len(target), device=target.device) if index is None else index
        batch = clear_shares(Batch(target, index, epoch, soft_target))
        # Losses are computed in float32: half precision loses the small differences they are made of.
        with without_autocast(images.device.type):
            student = student.float()
            teacher = teacher.float() if teacher is not None else None
            raw = {CROSS_ENTROPY: self._cross_entropy(student, batch)}
            raw.update(self.method(student, teacher, give_classes(batch, teacher, student.logits.shape[1])))
            weighted = {name: term * (self.weights[name] * self._find_rise(name, epoch)) for name, term in raw.items()}
            loss = torch.stack(list(weighted.values())).sum()
        rows = len(target) // len(self.method.views)
        seen = teacher.logits[:rows] if teacher is not None else None
        return Losses(loss, raw, weighted, student.logits[:rows].detach(), seen)

    def _find_rise(self, name: str, epoch: int) -> float:
        """Return the share of its weight that a term has in an epoch."""
        warmup = self.warmups.get(name, 0.0)
        return min(1.0, (epoch + 1) / warmup) if warmup > 0 else 1.0

    def ask_student(self, images: Tensor) -> Outputs:
        """Return the student's answer to the views that the method asks for, one after another."""
        # A pass for each view, so that batch statistics are those of one view, as in the papers with two.
        wanted, views = _find_wanted(self.method.student_reads), images.chunk(len(self.method.views))
        answers: list[Outputs] = [self.student(view, **wanted) for view in views]
        return answers[0] if len(answers) == 1 else Outputs.join(answers)

    def _cross_entropy(self, student: Outputs, batch: Batch) -> Tensor:
        rows = len(batch.target) // len(self.method.views) * self.method.labelled_views
        return label_loss(
            student.logits[:rows],
            self.method.targets(batch)[:rows],
            multi_label=self.multi_label,
            label_smoothing=self.label_smoothing,
            class_weights=self.class_weights,
        )

    def _check_labels(self, target: Tensor, shape: tuple[int, int]) -> None:
        """Raise where labels are of another kind, or images without one come to a method that can't use them."""
        if self.multi_label and target.shape != shape:
            raise ConfigError(
                f"With multi_label, target holds 0 or 1 for each of {shape[0]} images and {shape[1]} classes, "
                f"got {tuple(target.shape)}."
            )
        if self.method.teacher_reads and not self.method.reads_index:
            return
        # Looking into a tensor waits for the device: on a GPU only the first batch is looked at.
        if target.device.type != "cpu" and self._has_seen_labels:
            return
        self._has_seen_labels = True
        if (target == NO_LABEL).any():
            require_teacher_terms(self.method)


def _find_wanted(reads: Collection[str]) -> dict[str, bool]:
    """Return which maps a network has to give beside its logits."""
    return {"maps": "maps" in reads, "preactivations": "preactivations" in reads}
