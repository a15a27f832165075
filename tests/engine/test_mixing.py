"""Mixup and CutMix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dropkd.engine.mixing import mix_batch


def batch(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, 12, 10), generator=generator, dtype=torch.uint8)
    return images, torch.arange(size) % 4


@given(mixup=st.floats(0.1, 4), cutmix=st.sampled_from([0.0, 1.0]), step=st.integers(0, 1000))
def test_shares_are_a_distribution_and_pixels_stay_in_range(mixup: float, cutmix: float, step: int) -> None:
    images, target = batch()
    mixed, shares = mix_batch(images, target, 4, mixup=mixup, cutmix=cutmix, seed=0, epoch=1, step=step)
    assert torch.allclose(shares.sum(1), torch.ones(6))
    assert mixed.min() >= 0
    assert mixed.max() <= 1


def test_mixup_blends_an_image_with_its_mirror_place_by_the_shares() -> None:
    images, _ = batch()
    target = torch.tensor([0, 1, 2, 3, 3, 3])
    mixed, shares = mix_batch(images, target, 4, mixup=1.0, cutmix=0.0, seed=3, epoch=0, step=5)
    share = shares[0, 0]
    expected = (images[0].float() * share + images[5].float() * (1 - share)) / 255
    assert torch.allclose(mixed[0], expected, atol=1e-6)


def test_cutmix_pastes_a_box_whose_area_is_the_share() -> None:
    images = torch.zeros(2, 3, 20, 20, dtype=torch.uint8)
    images[1] = 255
    mixed, shares = mix_batch(images, torch.tensor([0, 1]), 2, mixup=0.0, cutmix=1.0, seed=0, epoch=0, step=1)
    assert mixed[0].mean().item() == pytest.approx(shares[0, 1].item(), abs=1e-6)


def test_what_is_drawn_depends_on_seed_epoch_and_step_alone() -> None:
    images, target = batch()

    def draw(seed: int, epoch: int, step: int) -> Tensor:
        torch.rand(3)  # the global generator moves and must not matter
        return mix_batch(images, target, 4, mixup=0.4, cutmix=1.0, seed=seed, epoch=epoch, step=step)[0]

    assert torch.equal(draw(0, 1, 2), draw(0, 1, 2))
    assert not torch.equal(draw(0, 1, 2), draw(0, 2, 1))
    assert not torch.equal(draw(0, 1, 2), draw(1, 1, 2))


@given(cutmix=st.booleans(), labelled=st.integers(0, 6), step=st.integers(0, 50))
def test_images_without_a_label_are_mixed_among_themselves(cutmix: bool, labelled: int, step: int) -> None:
    images, target = batch()
    target[labelled:] = -1
    kind = {"mixup": 0.0, "cutmix": 1.0} if cutmix else {"mixup": 1.0, "cutmix": 0.0}
    mixed, shares = mix_batch(images, target, 4, **kind, seed=0, epoch=0, step=step)
    for rows in (slice(None, labelled), slice(labelled, None)):
        if len(target[rows]):
            alone = mix_batch(images[rows], target[rows].clamp(min=0), 4, **kind, seed=0, epoch=0, step=step)
            assert torch.equal(mixed[rows], alone[0])
    assert torch.equal(shares[:labelled].sum(1).round(decimals=5), torch.ones(labelled))
    assert (shares[labelled:] == -1).all()
