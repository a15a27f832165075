from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dropkd.data import EvalLoader, LoadedBatch, Recipe, Split, TrainLoader, load_image, open_data
from dropkd.data import loaders as loaders_module
from dropkd.data.geometry import fit_frame
from dropkd.errors import ConfigError, DataError

Tree = Callable[..., Path]
SIZE = (8, 10)
RECIPES = [Recipe("shift", crop_padding=2, erase_probability=0.5), Recipe("resized"), Recipe("centre", flip=False)]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 1)):
        for name in ("cat", "dog", "fox"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return open_data(root).train


@pytest.fixture(scope="module")
def files(packed: Split) -> Split:
    return replace(packed, pack=None)


def _loader(split: Split, recipe: Recipe = RECIPES[0], **options: object) -> TrainLoader:
    settings: dict[str, object] = {"size": SIZE, "batch_size": 4, "seed": 0, **options}
    return TrainLoader(split, recipe=recipe, **settings)  # type: ignore[arg-type]


def _same(first: list[LoadedBatch], second: list[LoadedBatch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.target, b.target) and torch.equal(a.index, b.index)
        for a, b in zip(first, second, strict=True)
    )


def _by_index(batches: list[LoadedBatch]) -> dict[int, torch.Tensor]:
    return {int(i): image for b in batches for i, image in zip(b.index, b.images, strict=True)}


def test_a_batch_holds_bytes_classes_and_numbers(packed: Split) -> None:
    batches = list(_loader(packed, views=("standard", "strong")).epoch(0))
    assert [len(b.images) for b in batches] == [8] * 6 + [6]
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[1:] == (3, *SIZE)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.target.dtype == batch.index.dtype == torch.int64
        assert batch.target.tolist() == packed.targets[batch.index.numpy()].tolist()
        first, second = batch.index.chunk(2)
        assert torch.equal(first, second)


@pytest.mark.parametrize("recipe", RECIPES)
def test_packed_images_and_files_give_the_same_batches(packed: Split, files: Split, recipe: Recipe) -> None:
    views = ("standard", "mirrored", "strong")
    assert _same(
        list(_loader(packed, recipe, views=views).epoch(3)),
        list(_loader(files, recipe, views=views).epoch(3)),
    )


def test_workers_change_nothing(packed: Split, files: Split) -> None:
    expected = [list(_loader(packed).epoch(e)) for e in range(2)]
    for workers in (1, 2):
        loader = _loader(files, workers=workers)
        assert all(_same(list(loader.epoch(e)), expected[e]) for e in range(2))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(-3, 2**64), st.integers(0, 10**6))
def test_the_batch_size_changes_no_pixel_and_no_order(packed: Split, batch_size: int, seed: int, epoch: int) -> None:
    one = list(_loader(packed, seed=seed, batch_size=27).epoch(epoch))
    many = list(_loader(packed, seed=seed, batch_size=batch_size).epoch(epoch))
    assert torch.cat([b.images for b in many]).equal(one[0].images)
    assert torch.cat([b.index for b in many]).equal(one[0].index)
    assert sorted(one[0].index.tolist()) == list(range(27))


@pytest.mark.parametrize("start", range(8))
def test_an_epoch_goes_on_in_the_middle(packed: Split, start: int) -> None:
    loader = _loader(packed)
    assert _same(list(loader.epoch(2, start)), list(loader.epoch(2))[start:])


def test_a_start_beyond_the_epoch_is_refused(packed: Split) -> None:
    with pytest.raises(ValueError, match=r"start must lie in 0\.\.7, got 8"):
        list(_loader(packed).epoch(0, 8))


def test_an_epoch_left_early_does_not_leak_into_the_next(files: Split) -> None:
    expected = list(_loader(files).epoch(1))
    loader = _loader(files, workers=1)
    assert next(loader.epoch(0)).images.shape[0] == 4
    assert _same(list(loader.epoch(1)), expected)


def test_epochs_and_seeds_have_orders_of_their_own(packed: Split) -> None:
    orders = {
        tuple(torch.cat([b.index for b in _loader(packed, seed=seed).epoch(epoch)]).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_global_random_states_alone(files: Split, workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(_loader(files, workers=workers).epoch(0))
    list(EvalLoader(files, size=SIZE, batch_size=4, workers=workers))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize(("drop_last", "lengths"), [(False, [4] * 6 + [3]), (True, [4] * 6)])
def test_a_last_step_may_be_left_out(packed: Split, drop_last: bool, lengths: list[int]) -> None:
    loader = _loader(packed, drop_last=drop_last)
    assert [len(b.index) for b in loader.epoch(0)] == lengths
    assert len(loader) == len(lengths)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_shows_each_image_once_in_order(packed: Split, files: Split, workers: int) -> None:
    for split in (packed, files):
        loader = EvalLoader(split, size=(6, 6), batch_size=5, workers=workers)
        for _ in range(2):
            batches = list(loader)
            assert len(loader) == len(batches) == 6
            assert torch.cat([b.index for b in batches]).tolist() == list(range(27))
            assert torch.cat([b.target for b in batches]).tolist() == split.targets.tolist()
            for i, image in _by_index(batches).items():
                expected = fit_frame(load_image(split.paths[i]), (6, 6))
                assert (image.permute(1, 2, 0).numpy() == expected).all()


def test_packed_images_shown_at_another_size_are_the_same_as_files(packed: Split, files: Split) -> None:
    expected = list(_loader(files, size=(16, 12)).epoch(0))
    assert _same(list(_loader(packed, size=(16, 12)).epoch(0)), expected)


def test_packed_images_that_would_not_fit_enlarged_are_enlarged_one_by_one(
    packed: Split, files: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders_module, "PACK_BYTES", 1000)
    assert _same(list(_loader(packed, size=(16, 12)).epoch(0)), list(_loader(files, size=(16, 12)).epoch(0)))


def test_images_of_several_sizes_come_at_one_size(tree: Tree) -> None:
    root = tree({"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 1}, size=(40, 60))
    Image.new("RGB", (33, 90)).save(root / "train" / "cat" / "tall.png")
    data = open_data(root)
    for recipe in RECIPES:
        assert {b.images.shape for b in _loader(data.train, recipe, batch_size=7).epoch(0)} == {(7, 3, *SIZE)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_while_training_is_named(tree: Tree, workers: int) -> None:
    root = tree({"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 1})
    split = replace(open_data(root).train, pack=None)
    (root / "train" / "dog" / "1.png").unlink()
    with pytest.raises(DataError, match=r"^can't read the image '.*train/dog/1\.png': no such file"):
        list(_loader(split, workers=workers).epoch(0))


def test_workers_leave_an_interrupt_to_the_main_process(files: Split) -> None:
    expected = list(_loader(files).epoch(0))
    batches = _loader(files, workers=1, batch_size=1).epoch(0)
    first = next(batches)
    for worker in torch.multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    images = torch.cat([first.images, *(b.images for b in batches)])
    assert images.equal(torch.cat([b.images for b in expected]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"size": (0, 8)}, r"image size must be 1 pixel or more each way, got \(0, 8\)"),
        ({"views": ("weak",)}, "unknown view 'weak'"),
        ({"batch_size": 28, "drop_last": True}, "batch_size 28 is larger than the 27 images of 'train'"),
    ],
)
def test_an_option_out_of_range_is_refused(packed: Split, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _loader(packed, **options)


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="the split 'test' has no images"):
        EvalLoader(Split("test", (), np.zeros(0, np.int64)), size=SIZE, batch_size=1)
