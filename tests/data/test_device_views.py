"""Views made on the device that trains, here a CPU: bit for bit those that are made in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.data import Recipe, Split, TrainLoader
from dropkd.data.augment import VIEW_KINDS, Augmentation
from dropkd.data.device_views import DeviceViews
from dropkd.data.shifting import PackedRows, Shifts, shift_images
from dropkd.data.split import Pack

CPU = torch.device("cpu")
VIEWS = ("standard", "mirrored", "standard", "mirrored_own_erasing")


def make_split(count: int, height: int, width: int) -> Split:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2 * count, height, width, 3), dtype=np.uint8)
    rows = rng.permutation(2 * count)[:count]
    return Split(
        "train",
        tuple(map(Path, map(str, range(count)))),
        rng.integers(0, 3, count),
        ("a", "b", "c"),
        pack=Pack(pixels, rows),
    )


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    crop=st.sampled_from(["shift", "centre"]),
    padding=st.integers(0, 15),
    flip=st.booleans(),
    erased=st.sampled_from([0.0, 0.5, 1.0]),
    index=st.lists(st.integers(0, 19), min_size=1, max_size=9),
    epoch=st.integers(0, 10**6),
    repeated=st.booleans(),
)
def test_moved_and_erased_images_are_the_same_on_a_device(
    size: tuple[int, int],
    crop: str,
    padding: int,
    flip: bool,
    erased: float,
    index: list[int],
    epoch: int,
    repeated: bool,
) -> None:
    split = make_split(20, *size)
    augmentation = Augmentation(Recipe(crop, crop_padding=padding, flip=flip, erase_probability=erased), size, 3, VIEWS)
    rows = np.array(index)
    repeat = np.arange(len(rows)) % 3 if repeated else np.zeros(len(rows), np.int64)
    assert split.pack is not None
    one_by_one = augmentation.render([split.pack[i] for i in index], rows + 5, epoch, repeat)
    packed = PackedRows(split.pack.array, split.pack.rows[rows])
    assert (augmentation.render(packed, rows + 5, epoch, repeat) == one_by_one).all()
    on_device = DeviceViews(split.pack, augmentation, CPU).render(rows, rows + 5, epoch, repeat)
    assert (on_device.numpy() == one_by_one).all()


@pytest.mark.parametrize("views", [("standard",), VIEWS])
def test_a_loader_gives_the_same_batches(views: tuple[str, ...]) -> None:
    split = make_split(23, 8, 10)
    options = {"size": (8, 10), "batch_size": 5, "seed": 4, "views": views, "sampling": "balanced"}
    recipe = Recipe(crop_padding=3, erase_probability=0.5)
    here, there = (TrainLoader(split, recipe=recipe, device=device, **options) for device in (None, CPU))
    assert there.renderer.on_device
    assert not here.renderer.on_device
    for epoch in range(2):
        for one, other in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            for name in ("images", "target", "index", "view"):
                assert torch.equal(getattr(one, name), getattr(other, name))
            assert other.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("recipe", "views"),
    [
        (Recipe("resized"), ("standard",)),
        (Recipe(noise_probability=0.5), ("standard",)),
        (Recipe(color_jitter=0.2), ("standard",)),
        (Recipe(operations="trivial"), ("standard",)),
        (Recipe(), VIEW_KINDS),
    ],
)
def test_what_is_more_than_moving_and_erasing_stays_in_memory(recipe: Recipe, views: tuple[str, ...]) -> None:
    split = make_split(6, 8, 8)
    loader = TrainLoader(split, size=(8, 8), recipe=recipe, batch_size=3, seed=0, views=views, device=CPU)
    assert not loader.renderer.on_device
    assert len(list(loader.epoch(0))) == 2


def test_images_of_another_size_than_the_views_are_resized_in_memory_first() -> None:
    split = make_split(6, 8, 8)
    options = {"size": (12, 12), "recipe": Recipe(), "batch_size": 6, "seed": 0}
    here, there = (TrainLoader(split, device=device, **options) for device in (None, CPU))  # type: ignore[arg-type]
    assert there.renderer.on_device
    assert torch.equal(next(here.epoch(0)).images, next(there.epoch(0)).images)


def test_arrays_whose_channels_are_not_next_to_each_other_are_moved_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8).transpose(0, 2, 3, 1)
    shifts = Shifts(np.array([1, 0]), np.array([0, -2]), np.array([True, False]))
    shown = [np.zeros((2, 6, 6, 3), np.uint8) for _ in range(2)]
    for out, array in zip(shown, (pixels, np.ascontiguousarray(pixels)), strict=True):
        shift_images(out, PackedRows(array, np.array([3, 1])), shifts)
    assert (shown[0] == shown[1]).all()
    assert shown[0].any()
    split = replace(make_split(4, 6, 6), pack=Pack(pixels, np.arange(4)))
    assert len(list(TrainLoader(split, size=(6, 6), recipe=Recipe(), batch_size=2, seed=0, device=CPU).epoch(0))) == 2
