"""Steps of labelled and unlabelled images: how many, in which order, and that each can be made again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dropkd.data import LoadedBatch, MixedLoader, Pack, Recipe, Split, TrainLoader
from dropkd.data.augment import Augmentation
from dropkd.demo.images import load_demo_split
from dropkd.errors import ConfigError, DataError

SIZE = (28, 28)
RECIPE = Recipe("shift", crop_padding=3, erase_probability=0.5)


def split_of(rows: range, name: str = "train") -> Split:
    """Return real images as a split."""
    demo = load_demo_split("train")
    pixels = np.ascontiguousarray(np.repeat(demo.images[list(rows)][..., None], 3, axis=3))
    targets = demo.labels[list(rows)].astype(np.int64) if name == "train" else np.full(len(rows), -1)
    return Split(
        name, tuple(Path(f"{r}.png") for r in rows), targets, (), Path(), (), Pack(pixels, np.arange(len(rows)))
    )


def make(
    labelled: int = 20,
    unlabelled: int = 30,
    *,
    ratio: float = 1.0,
    batch_size: int = 4,
    views: tuple[str, ...] = ("standard",),
    seed: int = 3,
    drop_last: bool = True,
    crop: str = "shift",
) -> MixedLoader:
    recipe = replace(RECIPE, crop=crop)
    settings = {"size": SIZE, "recipe": recipe, "seed": seed, "views": views}
    own = TrainLoader(split_of(range(labelled)), batch_size=batch_size, drop_last=drop_last, **settings)  # type: ignore[arg-type]
    pool = split_of(range(labelled, labelled + unlabelled), "unlabelled")
    other = TrainLoader(pool, batch_size=1, first=labelled, **settings)  # type: ignore[arg-type]
    return MixedLoader(own, other, ratio=ratio)


def assert_same(one: LoadedBatch, other: LoadedBatch) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.index, other.index)


@pytest.mark.parametrize(
    ("ratio", "rows"), [(0.5, 2), (1.0, 4), (3.0, 12), (2.5, 10), (0.3, 1), (0.01, 1), (0.625, 3), (40.0, 160)]
)
def test_each_step_has_so_many_unlabelled_images_for_each_labelled_one(ratio: float, rows: int) -> None:
    loader = make(ratio=ratio)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 5
    assert all((batch.target[:4] >= 0).all() for batch in batches)
    assert all((batch.target[4:] == -1).all() and len(batch.target) == 4 + rows for batch in batches)
    assert loader.images_per_epoch == (20, 5 * rows)


def test_a_last_step_of_fewer_images_keeps_the_ratio() -> None:
    loader = make(labelled=10, ratio=2.0, drop_last=False)
    assert [(b.target >= 0).sum().item() for b in loader.epoch(0)] == [4, 4, 2]
    assert [(b.target < 0).sum().item() for b in loader.epoch(0)] == [8, 8, 4]
    assert loader.images_per_epoch == (10, 20)


def test_the_labelled_images_are_those_of_a_run_without_unlabelled_ones() -> None:
    loader = make()
    for mixed, plain in zip(loader.epoch(2), loader.labelled.epoch(2), strict=True):
        assert torch.equal(mixed.images[:4], plain.images)
        assert torch.equal(mixed.target[:4], plain.target)
        assert torch.equal(mixed.index[:4], plain.index)


def test_unlabelled_rows_follow_the_labelled_ones_of_each_view() -> None:
    batch = next(iter(make(ratio=0.5, views=("standard", "strong", "mirrored")).epoch(0)))
    assert len(batch.images) == 3 * (4 + 2)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for view in batch.target.chunk(3):
        assert (view >= 0).tolist() == [True] * 4 + [False] * 2
    first, *others = batch.index.chunk(3)
    assert all(torch.equal(first, other) for other in others)
    standard, _, mirrored = batch.images.chunk(3)
    assert torch.equal(standard, mirrored.flip(3))


@settings(deadline=None, max_examples=25)
@given(
    unlabelled=st.integers(1, 40), ratio=st.floats(0.05, 6), batch_size=st.integers(1, 9), seed=st.integers(0, 10**9)
)
def test_every_unlabelled_image_is_shown_once_before_any_is_shown_again(
    unlabelled: int, ratio: float, batch_size: int, seed: int
) -> None:
    loader = make(9, unlabelled, ratio=ratio, batch_size=batch_size, seed=seed, crop="centre")
    shown = [i for epoch in range(4) for b in loader.epoch(epoch) for i in b.index[b.target < 0].tolist()]
    assert set(shown) <= set(range(9, 9 + unlabelled))
    for start in range(0, len(shown), unlabelled):
        part = Counter(shown[start : start + unlabelled])
        assert max(part.values()) == 1


def test_each_pass_has_an_order_of_its_own() -> None:
    loader = make(20, 20)
    passes = [[i for b in loader.epoch(e) for i in b.index[b.target < 0].tolist()] for e in range(3)]
    assert all(sorted(p) == list(range(20, 40)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    own = [[i for b in loader.epoch(e) for i in b.index[b.target >= 0].tolist()] for e in range(3)]
    assert [i - 20 for i in passes[0]] != own[0]


@settings(deadline=None, max_examples=12)
@given(epoch=st.integers(0, 5), start=st.integers(0, 5), ratio=st.sampled_from([0.4, 1.0, 2.7]))
def test_a_step_is_the_same_without_those_before_it(epoch: int, start: int, ratio: float) -> None:
    whole, resumed = list(make(ratio=ratio).epoch(epoch)), list(make(ratio=ratio).epoch(epoch, start))
    assert len(resumed) == len(whole) - start
    for one, other in zip(whole[start:], resumed, strict=True):
        assert_same(one, other)


def test_a_view_is_a_function_of_seed_number_pass_and_view() -> None:
    loader = make(20, 7, ratio=2.0, views=("standard", "strong"))
    augmentation = Augmentation(RECIPE, SIZE, 3, ("standard", "strong"))
    pool = loader.unlabelled.split.pack
    assert pool is not None
    shown = 0
    for epoch in range(2):
        for batch in loader.epoch(epoch):
            views = [view[4:] for view in batch.images.chunk(2)]
            for row, number in enumerate(batch.index.chunk(2)[0][4:].tolist()):
                made = augmentation.render([pool[number - 20]], np.array([number]), shown // 7)
                for view in range(2):
                    assert np.array_equal(made[view, 0], views[view][row].permute(1, 2, 0).numpy())
                shown += 1
    assert shown == 80


def test_workers_change_nothing(tmp_path: Path) -> None:
    split = split_of(range(12))
    assert split.pack is not None
    paths = tuple(tmp_path / f"{i}.png" for i in range(12))
    for i, path in enumerate(paths):
        Image.fromarray(split.pack[i]).save(path)
    pool = replace(split, paths=paths, pack=None)
    other = TrainLoader(pool, size=SIZE, recipe=RECIPE, batch_size=1, seed=0, first=12)
    own = TrainLoader(split, size=SIZE, recipe=RECIPE, batch_size=4, seed=0)
    here, there = MixedLoader(own, other, ratio=1.5), MixedLoader(own, other, ratio=1.5, workers=2)
    for epoch in range(2):
        for one, two in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            assert_same(one, two)
    paths[5].unlink()
    with pytest.raises(DataError, match=r"5\.png"):
        list(there.epoch(0))


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_that_is_no_number_above_0_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="must be a number above 0"):
        make(ratio=ratio)


def test_a_step_of_several_labels_has_rows_without_any() -> None:
    own = split_of(range(8))
    own = replace(own, targets=np.eye(10, dtype=np.float32)[own.targets])
    settings = {"size": SIZE, "recipe": RECIPE, "seed": 0}
    loader = MixedLoader(
        TrainLoader(own, batch_size=4, **settings),  # type: ignore[arg-type]
        TrainLoader(split_of(range(8, 16), "unlabelled"), batch_size=1, first=8, **settings),  # type: ignore[arg-type]
        ratio=0.5,
    )
    batch = next(iter(loader.epoch(0)))
    assert batch.target.dtype == torch.float32
    assert batch.target.shape == (6, 10)
    assert (batch.target[4:] == -1).all()
    assert (batch.target[:4].sum(1) == 1).all()
