"""The contract of a distillation method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs, Pair, Shapes
from dropkd.errors import ConfigError, ModelError, did_you_mean

__all__ = ["Method", "refuse_multi_label"]


class Method(nn.Module):
    """Turns the student's answer, the teacher's and the labels into named, unweighted loss terms.

    A method is a module that owns its projectors and nothing else: it holds no model, optimiser, weight or
    logger. Its options are the keyword-only arguments of its constructor; their annotations and defaults are
    the configuration keys (``method.NAME``) that users see, so annotate each with its type and range
    (``Annotated[float, Gt(0)]`` of ``annotated_types``).

    A subclass sets:
        student_reads: which of ``logits``, ``maps``, ``embedding``, ``classifier`` (the weight of the last
            layer, where that is linear) and ``preactivations`` (the maps before their last activation) it reads of
            the student.
        teacher_reads: the same of the teacher; empty means that no teacher is needed.
        terms: the name of each loss term and its default weight.
        label_space_terms: the terms that compare teacher and student class by class, and so need a teacher
            with the student's classes.
        single_label_terms: the terms that need one class for each image, since they compare softmaxes or read class
            numbers; None: its ``label_space_terms``. Images with several labels are refused where such a term is
            active.
        views: the kinds of view that it wants of each image. With two, the rows of :class:`Outputs` and
            :class:`Batch` hold the first view of all images, then the second; ``split(2)`` parts them.
        labelled_views: how many of these views, from the first, the engine's cross-entropy sees.
        cross_entropy_weight: default weight of the engine's cross-entropy between the student's logits and
            :meth:`targets`.
        warmup_epochs: epochs over which its terms rise to their weights by default; see :meth:`warmup_of`.
        reads_index: whether it needs to know which training sample each image is (a memory, changed labels).
        least_batch: the fewest images in a batch that its terms are defined for.

    What it reads, its views and ``least_batch`` may be set for one instance, where its options or the pair decide.

    Args:
        pair: the shapes of student and teacher.

    Raises:
        ConfigError: the method reads a teacher and the pair has none, or the images have several labels and all of its
            terms need one class for each.
        ModelError: the method reads a classifier's weight and that network has no linear classifier.
    """

    student_reads: frozenset[str] = frozenset()
    teacher_reads: frozenset[str] = frozenset()
    terms: ClassVar[Mapping[str, float]] = {}
    label_space_terms: ClassVar[frozenset[str]] = frozenset()
    single_label_terms: ClassVar[frozenset[str] | None] = None
    views: tuple[str, ...] = ("standard",)
    labelled_views: int = 1
    cross_entropy_weight: ClassVar[float] = 1.0
    warmup_epochs: ClassVar[float] = 0.0
    reads_index: bool = False
    least_batch: int = 1

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        if self.teacher_reads and pair.teacher is None:
            raise ConfigError(f"{type(self).__name__} learns from a teacher, but none is given: name one.")
        self._check_classifier("student", pair.student, self.student_reads)
        self._check_classifier("teacher", pair.teacher, self.teacher_reads)
        self.pair = pair
        self.active: frozenset[str] = frozenset(self.terms)
        if not self.find_multi_label_terms():
            self._check_labels()

    @classmethod
    def find_multi_label_terms(cls) -> frozenset[str]:
        """Return the terms that images with several labels can be trained by."""
        needs_one = cls.label_space_terms if cls.single_label_terms is None else cls.single_label_terms
        return frozenset(cls.terms) - needs_one

    def _check_labels(self) -> None:
        refused = sorted(self.active - self.find_multi_label_terms())
        if self.pair.multi_label and refused:
            raise refuse_multi_label(type(self).__name__, refused)

    def _check_classifier(self, side: str, shapes: Shapes | None, reads: Collection[str]) -> None:
        if "classifier" in reads and shapes is not None and not shapes.has_classifier:
            raise ModelError(
                f"{type(self).__name__} reads the weight of the {side}'s classifier, but no single linear layer turns "
                f"this {side}'s embedding into its logits. Choose another {side}, such as a ResNet."
            )

    def restrict_terms(self, names: Collection[str]) -> None:
        """Compute these terms only from now on (the engine leaves out those of weight 0).

        Without any of them the method's parameters are frozen. A method of several terms that train different parts
        overrides it and freezes what no active term trains, so that no parameter waits for a gradient.

        Raises:
            ConfigError: a name is not among the method's terms, or a term needs one class for each image and the
                images have several labels.
        """
        for name in names:
            if name not in self.terms:
                known = ", ".join(sorted(self.terms)) or "none"
                raise ConfigError(
                    f"{type(self).__name__} has no term {name!r}. Its terms: {known}.{did_you_mean(name, self.terms)}"
                )
        self.active = frozenset(names)
        self._check_labels()
        self.requires_grad_(bool(self.active))

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Return each active term as an unweighted scalar, averaged over the batch.

        Args:
            student: the student's answer, in float32 or float64.
            teacher: the teacher's answer without gradients, or None where ``teacher_reads`` is empty.
            batch: labels, sample numbers and epoch.
        """
        raise TypeError(f"{type(self).__name__} does not define forward(student, teacher, batch)")

    def require_teacher(self, teacher: Outputs | None) -> Outputs:
        """Return the teacher's answer, for methods that can't do without.

        Raises:
            ConfigError: there is none.
        """
        if teacher is None:
            raise ConfigError(f"{type(self).__name__} learns from a teacher, but was called without its answer.")
        return teacher

    @property
    def changes_labels(self) -> bool:
        """Whether :meth:`targets` gives other labels than the data's."""
        return type(self).targets is not Method.targets

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels that the cross-entropy uses: (B,) classes, or (B, K) shares or labels of 0 and 1.

        Relabelling overrides it.
        """
        return batch.target if batch.soft_target is None else batch.soft_target

    @classmethod
    def warmup_of(cls, term: str) -> float:
        """Return the epochs over which a term rises to its weight where the user says nothing."""
        return cls.warmup_epochs

    def end_epoch(self, epoch: int) -> Sequence[LabelChange]:
        """Do what is to be done after an epoch, and return the training labels that are others from now on.

        The engine calls it after the last step of each epoch, before the state is saved.

        Args:
            epoch: the epoch that is done, counted from 0.
        """
        return ()

    def deploy(self, student: nn.Module) -> nn.Module:
        """Return the student as it is used after training.

        The few methods that change inference override it.
        """
        return student


def refuse_multi_label(name: str, terms: Sequence[str]) -> ConfigError:
    """Return the error of a method that images with several labels can't be trained by.

    Args:
        name: the method's.
        terms: its active terms that need one class for each image.
    """
    # Which methods there are is the registry's knowledge, and it imports this module.
    from dropkd.methods.registry import load_methods

    taught = {key: cls for key, cls in load_methods()[0].items() if cls.teacher_reads}
    fitting = {key: cls for key, cls in taught.items() if cls.find_multi_label_terms() == frozenset(cls.terms)}
    features = [key for key, cls in fitting.items() if not cls.label_space_terms]
    logits = [key for key in fitting if key not in features]
    return ConfigError(
        f"{name} needs one class for each image ({', '.join(terms)}), but these images have several labels or none. "
        f"What learns from a teacher's logits here is {' or '.join(logits)}; of features, {', '.join(features)}; "
        f"and several at once, as in kd+at."
    )
