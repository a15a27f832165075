"""All pairs of layers at once are what each pair is alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.errors import ConfigError, ModelError
from dropkd.metrics import CKAGrid, MinibatchCKA
from dropkd.metrics import cka_grid as module


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 9), st.integers(1, 4), st.integers(0, 100))
def test_each_entry_is_that_of_the_pair_alone(images: int, batches: int, seed: int) -> None:
    torch.manual_seed(seed)
    grid = CKAGrid(2, 3)
    pairs = [[MinibatchCKA() for _ in range(3)] for _ in range(2)]
    for _ in range(batches):
        first = [torch.randn(images, 5), torch.randn(images, 2, 3, 3)]
        second = [first[0].flip(1) * 3, torch.randn(images, 1), first[1].relu()]
        grid.update(first, second)
        for row, x in zip(pairs, first, strict=True):
            for pair, y in zip(row, second, strict=True):
                pair.update(x, y)
    expected = torch.stack([torch.stack([pair.compute() for pair in row]) for row in pairs])
    torch.testing.assert_close(grid.compute(), expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert grid.compute()[0, 0] == pytest.approx(1.0)


def test_wide_features_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(6, 50), torch.randn(6, 7)
    whole, parted = CKAGrid(1, 1), CKAGrid(1, 1)
    whole.update([x], [y])
    monkeypatch.setattr(module, "_COLUMNS", 8)
    parted.update([x], [y])
    torch.testing.assert_close(parted.compute(), whole.compute())


def test_a_layer_that_does_not_vary_has_no_alignment() -> None:
    grid = CKAGrid(1, 1)
    grid.update([torch.ones(5, 3)], [torch.randn(5, 3)])
    assert grid.compute().isnan().all()


def test_what_does_not_fit_is_refused() -> None:
    grid = CKAGrid(1, 1)
    with pytest.raises(ConfigError, match="at least 4 images"):
        grid.update([torch.randn(3, 2)], [torch.randn(3, 2)])
    with pytest.raises(ModelError, match="same images"):
        grid.update([torch.randn(5, 2)], [torch.randn(4, 2)])
    with pytest.raises(ModelError, match="layers"):
        grid.update([torch.randn(5, 2)] * 2, [torch.randn(5, 2)])
