"""Centred kernel alignment against its definition, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dropkd.errors import ConfigError, ModelError
from dropkd.metrics import MinibatchCKA, hsic1, linear_cka, rbf_cka


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_hsic1(x: np.ndarray, y: np.ndarray) -> float:
    """The formula of Song and others, term by term."""
    n = len(x)
    first, second = x @ x.T, y @ y.T
    np.fill_diagonal(first, 0)
    np.fill_diagonal(second, 0)
    trace = sum(first[i] @ second[:, i] for i in range(n))
    sums = first.sum() * second.sum() / ((n - 1) * (n - 2))
    return float((trace + sums - 2 / (n - 2) * (first @ second).sum()) / (n * (n - 3)))


@pytest.mark.parametrize("count", [4, 5, 16])
def test_the_criterion_is_its_definition(count: int) -> None:
    x, y = draw(count, 3, 2, seed=1), draw(count, 5, seed=2)
    expected = slow_hsic1(x.flatten(1).numpy(), y.numpy())
    assert hsic1(x, y).item() == pytest.approx(expected, rel=1e-10)
    assert hsic1(y, x).item() == pytest.approx(expected, rel=1e-10)


def test_the_criterion_is_unbiased() -> None:
    values = torch.stack([hsic1(draw(8, 2, seed=seed), draw(8, 2, seed=seed + 5000)) for seed in range(2000)])
    assert abs(values.mean()) < 3 * values.std() / 2000**0.5


def test_its_type_is_that_of_the_features_though_it_is_computed_in_float64() -> None:
    x = 1000 + draw(6, 4)
    assert hsic1(x.float(), x.float()).dtype == torch.float32
    assert hsic1(x.float(), x.float()).item() == pytest.approx(hsic1(x, x).item(), rel=1e-3)


def test_many_batches_are_averaged_before_they_are_divided() -> None:
    batches = [(draw(n, 7, seed=n), draw(n, 5, seed=n + 100)) for n in (16, 12, 6)]
    cka = MinibatchCKA()
    for x, y in batches:
        cka.update(x, y)
    sums = [
        sum(slow_hsic1(a.numpy(), b.numpy()) for a, b in pairs)
        for pairs in (batches, [(x, x) for x, _ in batches], [(y, y) for _, y in batches])
    ]
    assert cka.compute().item() == pytest.approx(sums[0] / (sums[1] * sums[2]) ** 0.5, rel=1e-10)
    assert cka.compute().dtype == torch.float64


def test_rotations_and_scales_are_without_effect() -> None:
    rotation, cka = torch.linalg.qr(draw(6, 6))[0], MinibatchCKA()
    for seed in range(3):
        x = draw(8, 6, seed=seed)
        cka.update(x, 5 * x @ rotation)
    assert cka.compute().item() == pytest.approx(1.0)


def test_features_that_do_not_vary_give_nan() -> None:
    cka = MinibatchCKA()
    cka.update(torch.ones(5, 2), draw(5, 2))
    assert cka.compute().isnan()


def test_the_metric_starts_anew_after_a_reset() -> None:
    cka = MinibatchCKA()
    cka.update(draw(5, 2), draw(5, 2, seed=1))
    cka.reset()
    cka.update(draw(5, 2), draw(5, 2))
    assert cka.compute().item() == pytest.approx(1.0)


def test_the_biased_form_is_too_high_where_images_are_few() -> None:
    x, y = draw(10, 200, seed=1), draw(10, 200, seed=2)
    assert linear_cka(x, y) > 0.8
    assert abs(linear_cka(x, y, unbiased=True)) < 0.3


def test_the_biased_form_is_that_of_centred_features() -> None:
    x, y = draw(9, 4, seed=1), draw(9, 3, seed=2)
    first, second = (a - a.mean(dim=0) for a in (x, y))
    expected = (second.T @ first).square().sum() / ((first.T @ first).norm() * (second.T @ second).norm())
    torch.testing.assert_close(linear_cka(x, y), expected)


def test_the_unbiased_form_is_the_alignment_of_one_batch() -> None:
    x, y, cka = draw(9, 4, seed=1), draw(9, 3, seed=2), MinibatchCKA()
    cka.update(x, y)
    torch.testing.assert_close(linear_cka(x, y, unbiased=True), cka.compute())


def test_gaussian_kernels_forget_rotation_and_scale() -> None:
    x, y = draw(9, 6, seed=1), draw(9, 3, seed=2)
    rotation = torch.linalg.qr(draw(6, 6))[0]
    torch.testing.assert_close(rbf_cka(3 * x @ rotation, y), rbf_cka(x, y))


def test_fewer_than_four_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="CKA needs at least 4 images in a batch, got 3"):
        hsic1(draw(3, 2), draw(3, 2))
    with pytest.raises(ConfigError, match="got 3"):
        MinibatchCKA().update(draw(3, 2), draw(3, 2))


def test_features_of_other_images_are_refused() -> None:
    with pytest.raises(ModelError, match=r"the same n images, got \(5, 2\) and \(6, 2\)"):
        hsic1(draw(5, 2), draw(6, 2))
