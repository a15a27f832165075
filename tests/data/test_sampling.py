"""Epochs that show small classes more often: how often, in which order, and with which pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.data import Recipe, Split, TrainLoader
from dropkd.data.loaders import LoadedBatch
from dropkd.data.sampling import EpochOrder, count_draws
from dropkd.data.split import Pack
from dropkd.errors import ConfigError

SIZE = (8, 10)
COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=8).filter(lambda counts: sum(counts) >= len(counts))


def targets_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.sampled_from(["balanced", "square-root"]), st.integers(-3, 2**64), st.integers(0, 10**6))
def test_each_class_gets_its_share_to_within_an_image(counts: list[int], sampling: str, seed: int, epoch: int) -> None:
    targets = targets_of(counts)
    index, repeat = EpochOrder(targets, sampling, seed).draw(epoch)
    assert len(index) == len(targets)
    weights = np.ones(len(counts)) if sampling == "balanced" else np.sqrt(counts)
    shares = weights / weights.sum() * len(targets)
    shown = np.bincount(targets[index], minlength=len(counts))
    assert (np.abs(shown - shares) < 1).all()
    # Within a class no image is shown again before each was shown.
    times = np.bincount(index, minlength=len(targets))
    for number in range(len(counts)):
        assert np.ptp(times[targets == number]) <= 1
    assert np.array_equal(np.sort(repeat), np.sort(np.concatenate([np.arange(n) for n in times])))


def test_over_many_epochs_the_shares_are_exact_and_every_image_is_seen() -> None:
    counts = [70, 20, 7, 3]
    targets = targets_of(counts)
    order = EpochOrder(targets, "balanced", seed=1)
    drawn = [order.draw(epoch)[0] for epoch in range(200)]
    shown = np.bincount(np.concatenate([targets[index] for index in drawn])) / 200
    assert np.abs(shown - 25).max() < 0.2
    # 25 of the 70 images of the largest class an epoch, others each time: 71 times in 200 epochs.
    times = np.bincount(np.concatenate(drawn))[:70]
    assert 45 < times.min() <= times.max() < 100


def test_the_rounding_is_fair_over_all_offsets() -> None:
    offsets = (np.arange(1000) + 0.5) / 1000
    mean = np.mean([count_draws(np.array([5, 3, 2]), 10, "balanced", offset) for offset in offsets], axis=0)
    assert mean == pytest.approx([10 / 3] * 3, abs=1e-3)


def test_shuffle_shows_each_image_once_and_repeats_none() -> None:
    index, repeat = EpochOrder(targets_of([5, 2]), "shuffle", seed=0).draw(3)
    assert sorted(index.tolist()) == list(range(7))
    assert not repeat.any()


def test_an_order_is_a_function_of_seed_and_epoch_alone() -> None:
    targets = targets_of([30, 4])
    first = EpochOrder(targets, "balanced", seed=5)
    first.draw(0)
    assert np.array_equal(first.draw(7)[0], EpochOrder(targets, "balanced", seed=5).draw(7)[0])
    assert not np.array_equal(first.draw(7)[0], first.draw(8)[0])
    assert not np.array_equal(first.draw(7)[0], EpochOrder(targets, "balanced", seed=6).draw(7)[0])


def test_unknown_samplings_and_images_of_several_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown data.sampling 'balnced'.*Did you mean 'balanced'"):
        EpochOrder(targets_of([2, 2]), "balnced", seed=0)
    with pytest.raises(ConfigError, match="several each"):
        EpochOrder(np.ones((4, 3)), "balanced", seed=0)


@pytest.fixture(scope="module")
def uneven() -> Split:
    """Return 20 images of one class and 2 of another."""
    pixels = np.random.default_rng(0).integers(0, 256, (22, *SIZE, 3), dtype=np.uint8)
    split = Split("train", (), targets_of([20, 2]), ("many", "few"), pack=Pack(pixels, np.arange(22)))
    return replace(split, paths=tuple(split.root / f"{i}.png" for i in range(22)))


def load(split: Split, sampling: str, epoch: int = 0, start: int = 0, **options: object) -> list[LoadedBatch]:
    settings: dict[str, object] = {"size": SIZE, "batch_size": 4, "seed": 0, **options}
    recipe = Recipe("shift", crop_padding=4, erase_probability=0.5)
    return list(TrainLoader(split, recipe=recipe, sampling=sampling, **settings).epoch(epoch, start))  # type: ignore[arg-type]


def views_by_image(batches: list[LoadedBatch]) -> dict[int, list[torch.Tensor]]:
    views: dict[int, list[torch.Tensor]] = {}
    for batch in batches:
        for number, image in zip(batch.index.tolist(), batch.images, strict=True):
            views.setdefault(number, []).append(image)
    return views


def test_a_repeated_image_has_new_views_and_its_first_is_that_of_a_plain_epoch(uneven: Split) -> None:
    plain = views_by_image(load(uneven, "shuffle"))
    balanced = views_by_image(load(uneven, "balanced"))
    assert {number: len(views) for number, views in balanced.items() if number >= 20} in (
        {20: 5, 21: 6},
        {20: 6, 21: 5},
    )
    for number, views in balanced.items():
        assert torch.equal(views[0], plain[number][0])
        distinct = {view.numpy().tobytes() for view in views}
        # Of 9 x 9 shifts, two flips and a random rectangle, two are seldom alike.
        assert len(distinct) >= len(views) - 1
        assert len(views) == 1 or len(distinct) > 1


def test_batch_size_and_start_change_no_pixel_of_a_balanced_epoch(uneven: Split) -> None:
    whole = load(uneven, "balanced", epoch=2, batch_size=22, views=("standard",))[0]
    cut = load(uneven, "balanced", epoch=2, batch_size=3)
    assert torch.cat([batch.images for batch in cut]).equal(whole.images)
    later = load(uneven, "balanced", epoch=2, batch_size=3, start=4)
    assert torch.cat([batch.images for batch in later]).equal(whole.images[12:])
