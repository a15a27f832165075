"""The clause about images with several labels finds what is wrong with a class that says it can do with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs
from dropkd.methods.dkd import DKD
from dropkd.methods.method import Method
from dropkd.testing import check_method
from dropkd.testing.contract import ContractError


class ReadsClasses(Method):
    """Takes class numbers, and says nothing of several labels.

    Args:
        pair: the shapes of the student.
    """

    student_reads = frozenset({"logits"})
    terms: ClassVar[Mapping[str, float]] = {"own": 1.0}

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        if "own" not in self.active:
            return {}
        return {"own": F.nll_loss(torch.log_softmax(student.logits, 1), batch.target)}


class Claims(ReadsClasses):
    __doc__ = ReadsClasses.__doc__
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset()


class Unknown(ReadsClasses):
    __doc__ = ReadsClasses.__doc__
    single_label_terms: ClassVar[frozenset[str] | None] = frozenset({"other"})


class Refuses(DKD):
    __doc__ = DKD.__doc__
    single_label_terms: ClassVar[frozenset[str] | None] = None


def test_a_class_that_says_nothing_is_not_tried() -> None:
    check_method(ReadsClasses)
    check_method(Refuses)


def test_a_class_that_says_it_can_and_can_not_is_found_out() -> None:
    with pytest.raises(ContractError, match="images with several labels, or none: it raised"):
        check_method(Claims)


def test_a_term_that_is_none_is_named() -> None:
    with pytest.raises(ContractError, match="single_label_terms holds 'other', which is not among its terms"):
        check_method(Unknown)
