"""What makes the processor wait for a GPU is found, and what does not isn't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd.contracts import Batch, Outputs
from dropkd.errors import ConfigError
from dropkd.methods import method_class, method_names
from dropkd.methods.crd import CRD
from dropkd.methods.kd import KD
from dropkd.testing import find_waits, record_waits

VALUES, LABELS = torch.empty(4, 4, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
HERE = torch.rand(4, 4)
WAITING: dict[str, Callable[[], object]] = {
    "item": lambda: VALUES[0, 0].item(),
    "bool": lambda: bool((VALUES > 0).any()),
    "float": lambda: float(VALUES.sum()),
    "range": lambda: range(LABELS[0]),
    "tolist": lambda: VALUES.tolist(),
    "cpu": lambda: VALUES.cpu() + 1,
    "cpu without blocking": lambda: VALUES.to("cpu", non_blocking=True),
    "numpy": lambda: VALUES.numpy(),
    "copy to the CPU": lambda: HERE.clone().copy_(VALUES),
    "to the device": lambda: HERE.to("meta"),
    "assigned from the CPU": lambda: VALUES.__setitem__(0, HERE[0]),
    "tensor": lambda: torch.tensor([1.0, 2.0], device="meta"),
    "as_tensor": lambda: torch.as_tensor(2.0, device="meta"),
    "new_tensor": lambda: VALUES.new_tensor([1.0]),
    "index by a list": lambda: VALUES[[0, 1]],
    "index by an array": lambda: VALUES[np.array([0, 1])],
    "index from the CPU": lambda: VALUES[HERE.argmax(0)],
    "index by booleans": lambda: VALUES[VALUES > 0],
    "assigned by booleans": lambda: VALUES.__setitem__(VALUES > 0, 1.0),
    "nonzero": lambda: VALUES.nonzero(),
    "where": lambda: torch.where(VALUES > 0),
    "masked_select": lambda: VALUES.masked_select(VALUES > 0),
    "equal": lambda: torch.equal(VALUES, VALUES),
    "allclose": lambda: torch.allclose(VALUES, VALUES),
    "unique": lambda: torch.unique(LABELS),
    "unique_consecutive": lambda: torch.unique_consecutive(LABELS),
    "bincount": lambda: torch.bincount(LABELS),
    "repeat_interleave": lambda: torch.repeat_interleave(VALUES, LABELS, dim=0),
    "inverse": lambda: torch.linalg.inv(VALUES),
    "backward": lambda: torch.zeros(1, requires_grad=True).to("meta", non_blocking=True).sum().backward(),
}
READY: dict[str, Callable[[], object]] = {
    "the CPU's own numbers": lambda: (HERE[HERE > 0.5].tolist(), HERE.nonzero(), float(HERE.sum())),
    "to the device without blocking": lambda: HERE.to("meta", non_blocking=True),
    "made there": lambda: torch.full((3,), 2.0, device="meta") + torch.arange(3, device="meta"),
    "a number of the CPU's": lambda: VALUES * torch.tensor(2.0),
    "one_hot": lambda: F.one_hot(LABELS, 5),
    "cross-entropy": lambda: F.cross_entropy(VALUES, LABELS, ignore_index=-1),
    "index": lambda: VALUES[LABELS, 1:3],
    "assigned": lambda: VALUES.__setitem__(LABELS, 0.0),
    "three-part where": lambda: torch.where(VALUES > 0, 1.0, VALUES),
    "repeat_interleave of known size": lambda: torch.repeat_interleave(VALUES, LABELS, dim=0, output_size=9),
    "of a tensor that is there": lambda: torch.as_tensor(VALUES),
    "sorted": lambda: torch.searchsorted(LABELS.sort().values, LABELS),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_found_with_its_place(name: str) -> None:
    with record_waits() as waits:
        WAITING[name]()
    assert [wait.where.partition(":")[0] for wait in waits] == ["test_find_waits.py"]


@pytest.mark.parametrize("name", READY)
def test_what_does_not_wait_is_not_found(name: str) -> None:
    with record_waits() as waits:
        READY[name]()
    assert waits == []


def test_an_error_of_the_code_itself_comes_through() -> None:
    with pytest.raises(RuntimeError, match="same reduction dim"), record_waits():
        VALUES @ torch.empty(3, 3, device="meta")


def test_all_places_up_to_one_that_nothing_stands_in_for_are_listed() -> None:
    with record_waits() as waits:
        VALUES.sum().item()
        VALUES.max().item()
        VALUES.nonzero()
        VALUES.min().item()
    assert [wait.what for wait in waits] == ["a number is read (item)"] * 2 + ["numbers are read (nonzero)"]
    assert str(waits[0]).endswith(": a number is read (item)")


@pytest.mark.parametrize("name", method_names())
def test_no_method_of_ours_waits(name: str) -> None:
    assert find_waits(method_class(name)) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dropkd", {"masks": "independent", "logit_mode": "remove", "stages": "all", "num_masks": 2}),
        ("scn", {"relabel": "low", "relabel_epoch": 1}),
        ("crd", {"negatives": 3}),
        ("reviewkd", {"student_maps": "before"}),
        ("crd+scn", {}),
    ],
)
def test_no_method_waits_with_other_options(name: str, options: dict[str, Any]) -> None:
    assert find_waits(method_class(name), options) == []


def test_a_method_that_waits_is_found_backwards_too() -> None:
    class Asking(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * float(gradient.abs().max())

    class Waiting(KD):
        __doc__ = KD.__doc__

        def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
            if student.logits.max() > 1e9:
                return {}
            return super().forward(student._replace(logits=Asking.apply(student.logits)), teacher, batch)

    assert [wait.what for wait in find_waits(Waiting)] == ["a number is read (item)"] * 2


def test_the_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    find_waits(CRD)
    assert torch.equal(torch.rand(3), expected)


def test_an_option_that_the_class_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'method\.temprature' of KD"):
        find_waits(KD, {"temprature": 4})
