"""What holds for each loss: its definition, its precision, its gradients, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_table import LOSSES, Loss, Value
from torch import Tensor
from torch.autograd import gradcheck

EACH = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
# Exponentials of similarities and shares of attention have no use for values of 60.
BOUNDED = {"crd", "rank regularization", "vid"}


def inputs(loss: Loss, seed: int = 0) -> dict[str, Value]:
    return loss.draw(torch.Generator().manual_seed(seed))


def change(value: Value, how: Callable[[Tensor], Tensor]) -> Value:
    return [how(item) for item in value] if isinstance(value, list) else how(value)


def cast(values: dict[str, Value], dtype: torch.dtype) -> dict[str, Value]:
    return {k: change(v, lambda t: t.to(dtype) if t.is_floating_point() else t) for k, v in values.items()}


def unpack(value: Value) -> list[Tensor]:
    return value if isinstance(value, list) else [value]


def leaves(values: dict[str, Value], names: tuple[str, ...]) -> list[Tensor]:
    return [item.requires_grad_() for name in names for item in unpack(values[name])]


def as_arrays(values: dict[str, Value]) -> list[Any]:
    return [[item.numpy() for item in v] if isinstance(v, list) else v.numpy() for v in values.values()]


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_slow_definition(loss: Loss, seed: int) -> None:
    values = inputs(loss, seed)
    found = loss.function(**values)
    assert found.shape == ()
    assert found.item() == pytest.approx(loss.oracle(*as_arrays(values)), rel=1e-9, abs=1e-7)


@EACH
def test_its_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    values = inputs(loss)
    learned = leaves(values, loss.learned)
    assert gradcheck(lambda *_: loss.function(**values), learned, fast_mode=True)


@EACH
def test_it_gives_the_precision_that_it_is_given_and_at_least_float32(loss: Loss) -> None:
    exact = loss.function(**inputs(loss))
    assert exact.dtype == torch.float64
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        found = loss.function(**cast(inputs(loss), dtype))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0.3 if dtype == torch.bfloat16 else 0.05, atol=5e-3)


@EACH
def test_autocast_leaves_it_as_it_is(loss: Loss) -> None:
    values = cast(inputs(loss), torch.float32)
    expected = loss.function(**values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss.function(**values), expected)


@EACH
def test_gradients_reach_what_learns_and_nothing_else(loss: Loss) -> None:
    values = inputs(loss)
    learned, fixed = leaves(values, loss.learned), leaves(values, loss.fixed)
    loss.function(**values).backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in learned)
    assert all(item.grad is None for item in fixed)


@EACH
def test_its_arguments_stay_as_they_are(loss: Loss) -> None:
    values, before = inputs(loss), inputs(loss)
    loss.function(**values)
    for name, value in values.items():
        assert all(torch.equal(a, b) for a, b in zip(unpack(value), unpack(before[name]), strict=True))


@pytest.mark.parametrize(
    "loss", [v for v in LOSSES.values() if v.orderless], ids=[k for k, v in LOSSES.items() if v.orderless]
)
def test_the_order_of_the_images_is_without_effect(loss: Loss) -> None:
    values = inputs(loss)
    per_channel = {"variance", "margin"}
    turned = {k: v if k in per_channel else change(v, lambda t: t.roll(1, 0).flip(0)) for k, v in values.items()}
    torch.testing.assert_close(loss.function(**turned), loss.function(**values))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in BOUNDED])
@pytest.mark.parametrize("sign", [1, -1], ids=["alike", "opposite"])
def test_values_of_60_give_finite_values_and_gradients_in_float32(name: str, sign: int) -> None:
    loss = LOSSES[name]

    def blow_up(values: Tensor) -> Tensor:
        return 60.0 * values.sign().float() if values.is_floating_point() else values

    values = {k: change(v, blow_up) for k, v in inputs(loss).items()}
    for k in loss.fixed:
        values[k] = change(values[k], lambda t: sign * t)
    learned = leaves(values, loss.learned)
    found = loss.function(**values)
    found.backward()
    assert found.isfinite()
    assert all(item.grad is not None and item.grad.isfinite().all() for item in learned)
    wide = loss.function(**cast(values, torch.float64))
    torch.testing.assert_close(found.double(), wide, rtol=1e-3, atol=1e-3)
