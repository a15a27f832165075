"""Each clause of the contract is broken once, and found."""

from __future__ import annotations

import random
from typing import Annotated, Any

import pytest
import torch
from annotated_types import Ge
from torch import Tensor, nn

from dropkd.contracts import Batch, Outputs, Pair
from dropkd.errors import ConfigError
from dropkd.methods.method import Method
from dropkd.testing import ContractError, check_method

from .wrong_methods import complaints


class Good(Method):
    """A method that keeps the contract.

    Args:
        pair: the shapes.
        width: of the projection.
    """

    student_reads = frozenset({"embedding"})
    teacher_reads = frozenset({"embedding"})
    terms = {"match": 1.0}  # noqa: RUF012

    def __init__(self, pair: Pair, *, width: int = 4) -> None:
        super().__init__(pair)
        self.project = nn.Linear(pair.student.embedding, pair.teacher.embedding)

    def restrict_terms(self, names: Any) -> None:
        super().restrict_terms(names)
        self.project.requires_grad_("match" in self.active)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        if "match" not in self.active:
            return {}
        projected = self.project(student.embedding)
        return {"match": self.measure(projected, teacher.embedding.detach(), batch)}

    def measure(self, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
        return (projected - goal).square().mean()


def test_a_method_that_keeps_the_contract_passes() -> None:
    check_method(Good)


def test_the_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_method(Good)
    assert torch.equal(torch.rand(3), expected)


def test_the_class_is_named_and_all_that_is_wrong_is_listed() -> None:
    class Wrong(Good):
        def measure(self, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
            return (projected.detach() - goal).square().mean(dim=1)

    text = complaints(Wrong)
    assert text.startswith("Wrong breaks the contract of a method:\n* ")
    assert "must be a scalar tensor" in text
    assert "no gradient reaches the student" in text


def test_something_else_than_a_method_is_found() -> None:
    assert "not a subclass" in complaints(nn.Linear)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"student_reads": frozenset({"pixels"})},
            "student_reads holds 'pixels'; a network answers with logits, maps, embedding, classifier",
        ),
        ({"terms": {"match": -1.0}}, "weight of the term 'match' must be a number of at least 0, got -1.0"),
        ({"terms": {"match": 1.0, "cross_entropy": 1.0}}, "is the engine's"),
        ({"label_space_terms": frozenset({"logit"})}, "label_space_terms holds 'logit'"),
        ({"labelled_views": 2}, "labelled_views must be from 1 to 1"),
        ({"views": ("standard", "weak")}, "views holds 'weak'; the views are standard, mirrored"),
        ({"views": ()}, "labelled_views must be from 1 to 0, the number of its views, got 1"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a number of at least 0, got -1"),
        (
            {"warmup_of": lambda self, term: None},
            "warmup_of('match') must be a number of epochs of at least 0",
        ),
        ({"cross_entropy_weight": float("nan")}, "cross_entropy_weight must be a number of at least 0, got nan"),
        ({"least_batch": 0}, "least_batch must be a whole number of at least 1, got 0"),
        ({"terms": {"match it": 1.0}}, "the term 'match it' must be a name of letters, digits and _"),
        ({"terms": {"matched": 1.0}}, "with the terms {matched} active it returns {}: return the active terms"),
        ({"terms": {"match": 1.0, "more": 1.0}}, "with the terms {match, more} active it returns {match}"),
        ({"terms": {}}, "with the terms {} active it returns {match}"),
        ({"teacher_reads": frozenset({"maps"})}, "reads what it does not declare"),
        ({"student_reads": frozenset({"maps"})}, "reads what it does not declare"),
    ],
)
def test_a_wrong_declaration_is_found(changes: dict[str, Any], words: str) -> None:
    wrong = type("Wrong", (Good,), {"__doc__": Good.__doc__, **changes})
    if changes.get("terms") == {}:
        wrong.forward = lambda self, s, t, b: {"match": s.embedding.mean()}  # type: ignore[attr-defined]
    assert words in complaints(wrong)


def test_an_option_without_description_is_found() -> None:
    class Wrong(Good):
        """Nothing is said of width."""

    assert "option 'width' is not described" in complaints(Wrong)


def test_a_default_that_its_own_annotation_refuses_is_found() -> None:
    class Wrong(Good):
        """A method.

        Args:
            width: of the projection.
        """

        def __init__(self, pair: Pair, *, width: Annotated[int, Ge(1)] = 0) -> None:
            super().__init__(pair)

    words = "a default is not what its own annotation allows: method.width must be a whole number, at least 1, got 0."
    assert words in complaints(Wrong)


def test_an_option_that_the_class_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'method\.widths' of Good\. Did you mean 'width'\?"):
        check_method(Good, {"widths": 4})


class Chooser(Good):
    """A method whose option says what it reads and sees.

    Args:
        pair: the shapes.
        mirrored: compare the student with its own answer to the mirror image.
    """

    def __init__(self, pair: Pair, *, mirrored: bool = False) -> None:
        super().__init__(pair)
        self.mirrored = mirrored
        if mirrored:
            self.student_reads, self.teacher_reads = frozenset({"logits"}), frozenset()
            self.views = self.choose_views()
            self.project.requires_grad_(False)

    def choose_views(self) -> tuple[str, ...]:
        return ("standard", "mirrored")

    def restrict_terms(self, names: Any) -> None:
        super().restrict_terms(names)
        self.project.requires_grad_("match" in self.active and not self.mirrored)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if not self.mirrored or not self.active:
            return super().forward(student, teacher, batch)  # type: ignore[arg-type]
        first, second = (view.logits for view in student.split(2))
        return {"match": (first - second.detach()).square().mean()}


def test_what_a_method_reads_and_sees_may_depend_on_its_options() -> None:
    check_method(Chooser)
    check_method(Chooser, {"mirrored": True})


def test_a_constructor_that_fails_is_told_once() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def __init__(self, pair: Pair, *, width: int = 4) -> None:
            super().__init__(pair)
            self.project = nn.Linear(pair.student.maps[5][0], width)

    what = "what it asks for once it is built: it raised IndexError: tuple index out of range"
    assert complaints(Wrong) == f"Wrong breaks the contract of a method:\n* {what}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"choose_views": lambda self: ("standard", "weak")}, "views holds 'weak'"),
        ({"choose_views": lambda self: ("standard",)}, "with one image (its least_batch is 1) it raised IndexError"),
    ],
)
def test_a_wrong_wish_of_an_option_is_found(changes: dict[str, Any], words: str) -> None:
    wrong = type("Wrong", (Chooser,), {"__doc__": Chooser.__doc__, **changes})
    check_method(wrong)
    with pytest.raises(ContractError) as caught:
        check_method(wrong, {"mirrored": True})
    assert words in str(caught.value)


def test_a_constructor_that_takes_options_by_place_is_found() -> None:
    class Wrong(Good):
        """A method.

        Args:
            width: of the projection.
        """

        def __init__(self, pair: Pair, width: int = 4) -> None:
            super().__init__(pair)

    assert "must be a keyword-only argument" in complaints(Wrong)


def _measure_like(measure: Any) -> type[Method]:
    return type("Wrong", (Good,), {"__doc__": Good.__doc__, "measure": measure})


def _seed(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    torch.manual_seed(0)
    return (projected - goal).square().mean()


def _change(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    goal.zero_()
    return (projected - goal).square().mean()


def _count(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return (projected - goal).square().mean() * self.calls


def _correlate(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    return torch.corrcoef(projected.T).nan_to_num().mean() + 1 / (len(projected) - 1)


def _index_labels(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    assert batch.soft_target is None
    return (projected - goal).square().mean()


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (lambda self, p, g, b: (p - g).square().mean(dim=1), "must be a scalar tensor, averaged over the batch"),
        (lambda self, p, g, b: 1.0, "must be a scalar tensor, averaged over the batch, got 1.0"),
        (lambda self, p, g, b: (p - g).square().mean() / 0, "it is not finite"),
        (lambda self, p, g, b: (p - g).square().mean().double(), "must be float32"),
        (lambda self, p, g, b: (p.detach() - g).square().mean(), "no gradient reaches the student"),
        (lambda self, p, g, b: (p * random.random()).mean(), "with the same seed it gives other values"),
        (_seed, "it seeds torch's generator"),
        (_change, "it changes the teacher's answer in place"),
        (_count, "its state dict does not restore it"),
        (_correlate, "with one image"),
        (_index_labels, "with shares as labels it raised AssertionError"),
    ],
)
def test_a_wrong_measure_is_found(measure: Any, words: str) -> None:
    assert words in complaints(_measure_like(measure))


class Weighted(Good):
    """A method that reads the classifiers' weights.

    Args:
        pair: the shapes.
        width: of the projection.
    """

    teacher_reads = student_reads = frozenset({"embedding", "classifier"})

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        if "match" not in self.active:
            return {}
        assert student.classifier is not None
        assert teacher.classifier is not None
        ours = self.project(student.embedding).mean() * self.prepare(student.classifier).mean()
        theirs = teacher.embedding.detach().mean() * self.prepare(teacher.classifier).mean()
        return {"match": (ours - theirs).square()}

    def prepare(self, weight: Tensor) -> Tensor:
        return weight.detach()


def test_a_method_may_read_the_classifiers_weights() -> None:
    check_method(Weighted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student_reads": frozenset({"embedding"})}, "it reads what it does not declare"),
        ({"prepare": lambda self, weight: weight}, "gradients reach the teacher's classifier: detach them"),
        ({"prepare": lambda self, weight: weight.detach().mul_(2)}, "it changes the student's answer in place"),
        (
            {"_check_classifier": lambda self, side, shapes, reads: None},
            "with networks without a linear classifier it raised AssertionError",
        ),
    ],
)
def test_a_wrong_use_of_the_classifiers_weights_is_found(changes: dict[str, Any], words: str) -> None:
    assert words in complaints(type("Wrong", (Weighted,), {"__doc__": Weighted.__doc__, **changes}))


def test_a_gradient_into_the_teacher_is_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
            return {"match": (self.project(student.embedding) - teacher.embedding).square().mean()}

    assert "gradients reach the teacher's embedding: detach them" in complaints(Wrong)


def test_a_projector_that_nothing_trains_is_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def __init__(self, pair: Pair, *, width: int = 4) -> None:
            super().__init__(pair)
            self.idle = nn.Linear(width, 1)

    assert "'idle.weight' asks for a gradient but gets none" in complaints(Wrong)


def _shrink(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    return (projected.float() - goal.float()).square().mean()


def _mix(self: Good, projected: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    return (projected @ torch.ones(goal.shape[1], 1)).mean() - goal.mean()


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (_shrink, "in double precision the term 'match' must be float64 for answers in float64, got torch.float32"),
        (_mix, "in double precision it raised RuntimeError"),
    ],
)
def test_double_precision_that_gets_lost_is_found(measure: Any, words: str) -> None:
    text = complaints(_measure_like(measure))
    assert words in text
    assert "compute in the precision of the answers, and convert to float32 only what is of less" in text


def test_half_precision_under_autocast_is_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
            return {"match": self.project(student.embedding).mean()} if self.active else {}

    text = complaints(Wrong)
    assert "under autocast to bfloat16 the term 'match' must be float32" in text


@pytest.mark.parametrize("stem", [nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())])
def test_a_model_inside_is_found(stem: nn.Module) -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def __init__(self, pair: Pair, *, width: int = 4) -> None:
            super().__init__(pair)
            self.teacher_network = stem.requires_grad_(False)

    assert "it holds a model ('teacher_network" in complaints(Wrong)


def test_a_projector_that_is_not_registered_is_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def __init__(self, pair: Pair, *, width: int = 4) -> None:
            super().__init__(pair)
            self.more = {"stage": [nn.Linear(2, 2)]}

    assert "'more' hides a Linear in a dict" in complaints(Wrong)


def test_labels_of_another_shape_are_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def targets(self, batch: Batch) -> Tensor:
            return batch.target[:2]

    assert "targets must return (B,) or (B, K), here (6,) or (6, 7), got (2,)" in complaints(Wrong)


def test_a_deployed_nothing_is_found() -> None:
    class Wrong(Good):
        __doc__ = Good.__doc__

        def deploy(self, student: nn.Module) -> nn.Module:
            return None  # type: ignore[return-value]

    assert "deploy must return a module" in complaints(Wrong)
