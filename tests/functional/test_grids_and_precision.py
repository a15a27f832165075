"""Two maps on one grid, losses in full precision, and the examples of the docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import dropkd.functional
import dropkd.methods
import dropkd.metrics
import dropkd.testing
from dropkd.errors import ModelError
from dropkd.functional import pool_to_common_grid
from dropkd.functional.grids import check_grids
from dropkd.functional.precision import full_precision


@pytest.mark.parametrize(
    ("student", "teacher", "grid"),
    [((8, 8), (4, 4), (4, 4)), ((5, 9), (7, 14), (5, 9)), ((6, 5), (5, 6), (5, 5)), ((1, 1), (7, 7), (1, 1))],
)
def test_the_common_grid_is_the_smaller_height_and_width(
    student: tuple[int, int], teacher: tuple[int, int], grid: tuple[int, int]
) -> None:
    found = pool_to_common_grid(torch.ones(2, 3, *student), torch.ones(2, 5, *teacher))
    assert [tuple(m.shape) for m in found] == [(2, 3, *grid), (2, 5, *grid)]
    assert all(torch.equal(m, torch.ones_like(m)) for m in found)


def test_a_map_that_fits_is_left_as_it_is() -> None:
    small = torch.rand(2, 3, 4, 4)
    assert pool_to_common_grid(small, torch.rand(2, 3, 8, 8))[0] is small


def test_pooling_keeps_the_mean() -> None:
    large = torch.rand(2, 3, 8, 4, dtype=torch.float64)
    pooled, _ = pool_to_common_grid(large, torch.rand(2, 1, 4, 2))
    torch.testing.assert_close(pooled.mean(dim=(2, 3)), large.mean(dim=(2, 3)))


@pytest.mark.parametrize("pair", [((3, 7, 14), (3, 14, 7)), ((3, 7, 7), (3, 1, 49)), ((3, 0, 4), (3, 4, 4))])
def test_maps_that_cannot_be_of_the_same_images_are_refused(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for student, teacher in (pair, pair[::-1]):
        with pytest.raises(ModelError) as caught:
            check_grids(student, teacher)
        assert str(student) in str(caught.value)
        assert str(teacher) in str(caught.value)


def test_grids_whose_sides_were_rounded_otherwise_are_accepted() -> None:
    check_grids((3, 1, 13), (3, 2, 13))
    check_grids((3, 1, 28), (3, 2, 25))


def test_half_precision_is_widened_in_tensors_and_lists_and_float64_is_kept() -> None:
    @full_precision
    def look(*values: object, named: object = None) -> list[torch.dtype]:
        flat = [v for value in (*values, named) for v in (value if isinstance(value, (list, tuple)) else [value])]
        return [v.dtype for v in flat if isinstance(v, torch.Tensor)]

    half, wide, whole = torch.ones(1).half(), torch.ones(1).double(), torch.ones(1).long()
    found = look(half, [half, wide], whole, 3.0, named=(half.bfloat16(),))
    assert found == [torch.float32, torch.float32, torch.float64, torch.int64, torch.float32]


def test_matrix_products_inside_are_not_cast_by_autocast() -> None:
    values = torch.rand(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (values @ values).dtype == torch.bfloat16
        assert full_precision(torch.matmul)(values, values).dtype == torch.float32


PACKAGES = (dropkd.functional, dropkd.methods, dropkd.metrics, dropkd.testing)
MODULES = [f"{p.__name__}.{m.name}" for p in PACKAGES for m in pkgutil.iter_modules(p.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_docstrings_are_right(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
