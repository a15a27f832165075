"""State, random numbers and labels: each clause is broken once, and found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dropkd.contracts import Batch, LabelChange, Outputs, Pair
from dropkd.models import build_network
from dropkd.testing import check_method

from .wrong_methods import Reader, complaints, make_wrong


def _draw(number: Any) -> Any:
    return lambda self, teacher, batch: teacher.embedding.detach() * number()


@pytest.mark.parametrize("number", [random.random, np.random.random], ids=["random", "numpy"])
def test_random_numbers_from_elsewhere_than_torch_are_found(number: Any) -> None:
    text = complaints(make_wrong(look_at=_draw(number)))
    assert "with the same seed it gives other values: draw random numbers from torch, not from random or numpy" in text


def test_a_generator_outside_the_state_is_found() -> None:
    def build(self: Any, pair: Pair) -> None:
        Reader.__init__(self, pair)
        self.generator = torch.Generator().manual_seed(0)

    def look(self: Any, teacher: Outputs, batch: Batch) -> Tensor:
        return teacher.embedding.detach() * torch.rand((), generator=self.generator)

    assert "its state dict does not restore it" in complaints(make_wrong(__init__=build, look_at=look))


def _build_with(**attributes: Any) -> Any:
    def build(self: Any, pair: Pair) -> None:
        Reader.__init__(self, pair)
        for name, make in attributes.items():
            setattr(self, name, make(self))

    return build


class Box:
    """A plain object that hides what it holds."""

    def __init__(self, content: object) -> None:
        self.content = content


def _network() -> nn.Module:
    return build_network("cifar_resnet8", num_classes=7, image_size=32)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda self: [nn.Linear(2, 2)],
            "'more' hides a Linear in a list, so that it is not trained or saved: register",
        ),
        (lambda self: (nn.Parameter(torch.ones(2)),), "'more' hides a Parameter in a tuple"),
        (lambda self: Box({"a": nn.Linear(2, 2)}), "'more' hides a Linear in a Box"),
        (lambda self: torch.ones(3), "'more' holds a Tensor, which is not saved and stays behind"),
        (lambda self: {"a": [torch.ones(3)]}, "'more' holds a Tensor in its dict, which is not saved"),
        (lambda self: (_network(),), "it holds a model ('more' hides a TappedNetwork in a tuple)"),
        (lambda self: _network(), "it holds a model ('more' is a TappedNetwork); it may own projectors only"),
    ],
)
def test_what_is_held_outside_the_state_is_found(make: Any, words: str) -> None:
    assert words in complaints(make_wrong(__init__=_build_with(more=make)))


def test_a_private_name_hides_nothing() -> None:
    assert "'_more' hides a Linear in a list" in complaints(
        make_wrong(__init__=_build_with(_more=lambda self: [nn.Linear(2, 2)]))
    )


def test_a_second_name_for_something_registered_hides_nothing() -> None:
    check_method(make_wrong(__init__=_build_with(both=lambda self: [self.project, self.memory])))


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (lambda self, s, g, b: setattr(self, "last", g), "'last' holds a Tensor, which is not saved"),
        (lambda self, s, g, b: setattr(self, "last", s), "'last' holds a Tensor in its Outputs"),
        (lambda self, s, g, b: setattr(self, "last", b), "'last' holds a Tensor in its Batch"),
        (
            lambda self, s, g, b: setattr(self, "memory", g.mean(0)),
            "training replaces 'memory' by a new tensor: change",
        ),
        (lambda self, s, g, b: self.memory.copy_(self.project(s.embedding).mean(0)), "'memory' keeps a graph: detach"),
        (
            lambda self, s, g, b: setattr(self, "late", getattr(self, "late", None) or nn.Linear(2, 2)),
            "training adds 'late.weight', 'late.bias' to its state: make it in the constructor, from the pair",
        ),
    ],
)
def test_what_is_kept_of_a_call_is_found(keep: Any, words: str) -> None:
    text = complaints(make_wrong(remember=keep))
    assert words in text
    if "'last'" in words:
        assert "after a step it keeps nothing of the networks' answers but what a buffer holds" in text


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (lambda self, batch: batch.target.float(), "targets must return classes from 0 to 6 in int64"),
        (
            lambda self, batch: batch.target + 1,
            "targets must return classes from 0 to 6 in int64, or shares (B, K), got 1",
        ),
        (lambda self, batch: batch.target.tolist(), "targets must return (B,) or (B, K)"),
        (lambda self, batch: batch.target.unsqueeze(1).repeat(1, 7), "targets (B, K) must return finite shares"),
    ],
)
def test_labels_that_are_no_classes_are_found(targets: Any, words: str) -> None:
    assert words in complaints(make_wrong(targets=targets))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (None, "end_epoch must return a sequence of LabelChange, empty where no label changes, got None"),
        ([(3, 0, 1)], "end_epoch must return a sequence of LabelChange"),
        (
            [LabelChange(24, 3, 1)],
            "end_epoch returns LabelChange(index=24, before=3, after=1), but there are 24 samples",
        ),
        ([LabelChange(3, 3, 7)], "and 7 classes, and a change is from one class to another"),
        ([LabelChange(3, 3, 3)], "a change is from one class to another"),
        ([LabelChange(3, 3, 5)], "but targets still gives this sample the class 3"),
    ],
)
def test_wrong_changes_of_labels_are_found(changes: Any, words: str) -> None:
    assert words in complaints(make_wrong(end_epoch=lambda self, epoch: changes))


def test_labels_that_change_and_are_given_so_pass() -> None:
    def end_epoch(self: Any, epoch: int) -> Sequence[LabelChange]:
        before = int(self.labels[3])
        self.labels[3] = (before + 1) % self.pair.num_classes
        return [LabelChange(3, before, int(self.labels[3]))]

    check_method(make_wrong(end_epoch=end_epoch, targets=lambda self, batch: self.labels[batch.index]))
