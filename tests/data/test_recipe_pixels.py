"""The pixels of recipes, as they were when each recipe came: a run must be repeatable by a later version."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropkd.config.augmentations import AUGMENTATIONS
from dropkd.data import Recipe, recipe
from dropkd.data.augment import VIEW_KINDS, Augmentation
from dropkd.data.colours import GREY

VIEWS = (*VIEW_KINDS, "standard")
SIZE = (12, 16)

RECIPES = {
    "crop-flip": Recipe(),
    "crop-flip, all": Recipe(crop_padding=3, erase_probability=0.5, color_jitter=0.3),
    "crop-flip, no flip": Recipe(flip=False, crop_padding=0, erase_probability=0.5),
    "resized-crop": Recipe("resized"),
    "resized-crop, all": Recipe("resized", crop_scale=(0.1, 0.9), erase_probability=0.4, color_jitter=0.5),
    "none": recipe("none"),
    "cifar": recipe("cifar", view_size=SIZE),
    "imagenet": recipe("imagenet"),
    "faces-scn": recipe("faces-scn"),
    "faces-eac": recipe("faces-eac"),
    "trivial, small": recipe("trivial", view_size=SIZE),
    "trivial, large": recipe("trivial"),
    "rand": recipe("rand", view_size=SIZE, rand_ops=3, rand_magnitude=20),
    "bicubic or bilinear": Recipe("resized", interpolation="random"),
}
# The first six were taken before there were recipes by name.
HASHES = {
    "crop-flip": "9b3bfe2c2b9da89af6de2d6dc3a50999c6647cc84fba1c89314478390b2971e2",
    "crop-flip, all": "3b481ea24b04526570082112df2ed69c844bb9b1de9c5324e4d0cab98f4e3124",
    "crop-flip, no flip": "4a7abedd241a509673e966842312ce4b1d399cc9993192689f84be57916965c9",
    "resized-crop": "25fb5f1aa287220435db1abc0ac7b087ba41fb9dcf6bf0c76e5bc5e139177943",
    "resized-crop, all": "30d2b55d924f97d3d622baf3cfd4271870d05eeb9680c90864358a194436b38e",
    "none": "a4e31c7c30464543de1e4f593b0d78339818c2e4335511dff46aca56ae853f0c",
    "cifar": "5880de7879d415c8a54f650b5381dfddcbad1fdb965cd9dc18ba70d837d08f23",
    "imagenet": "6ee2c0425c951cb3ac0a93746359ccb3bdf0810fa0af65d1ad701e9069bf3078",
    "faces-scn": "c706f1d897e24fb7aaa3230256c2fe1eedddac1f45c7e4717022880408676fe4",
    "faces-eac": "c6bff42b23c8b2f55654798d74cd3c1b59c917714071fc4fe04f413944b302ed",
    "trivial, small": "722117be5dfa150c4159ebdf3ffa1f9caf67653e71285c06d632751cab6427a3",
    "trivial, large": "29e62004c8ba75fbfca2201181494dc96c2b25e37a0f46b712c71027ccfb711c",
    "rand": "b551d93897991fdb4d954585559e92d8b9a92aacf22175e85a2e47f78ea270fc",
    "bicubic or bilinear": "d2b5715130496d88fa95fae4eb1432aad08b05170239c987199d634c302f589f",
}


def _make_images(count: int, height: int, width: int) -> np.ndarray:
    i, y, x, c = np.ogrid[:count, :height, :width, :3]
    return ((7 * i + 3 * y + 5 * x + 11 * c + (i + 1) * x * y // (3 + c)) % 256).astype(np.uint8)


@pytest.mark.parametrize("name", RECIPES)
def test_the_pixels_of_a_recipe_never_change(name: str) -> None:
    digest = hashlib.sha256()
    for native in (SIZE, (23, 19)):
        for epoch in (0, 5):
            augmentation = Augmentation(RECIPES[name], SIZE, 3, VIEWS)
            digest.update(augmentation.render(_make_images(9, *native), np.arange(9) * 7, epoch).tobytes())
    assert digest.hexdigest() == HASHES[name]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(AUGMENTATIONS),
    native=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(-3, 2**66),
    epoch=st.integers(0, 1000),
    index=st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_a_view_by_any_recipe_has_its_size_and_depends_on_nothing_else_in_the_batch(
    name: str, native: tuple[int, int], size: tuple[int, int], seed: int, epoch: int, index: list[int]
) -> None:
    images = _make_images(10, *native)
    augmentation = Augmentation(recipe(name, view_size=size, native_size=native), size, seed, VIEWS)
    together = augmentation.render(images[index], np.array(index), epoch)
    assert together.shape == (len(VIEWS), len(index), *size, 3)
    assert together.dtype == np.uint8
    backwards = augmentation.render(images[index[::-1]], np.array(index[::-1]), epoch)
    assert (backwards[:, ::-1] == together).all()
    for row, i in enumerate(index):
        alone = augmentation.render(images[[i]], np.array([i]), epoch)
        assert (alone[:, 0] == together[:, row]).all()
    assert (together[1] == together[0][:, :, ::-1]).all()


@pytest.mark.parametrize("name", ["faces-scn", "faces-eac", "trivial", "rand"])
def test_a_mirrored_view_with_its_own_erasing_has_the_same_crop_and_operations_and_no_noise(name: str) -> None:
    images = np.random.default_rng(0).integers(1, 256, (60, *SIZE, 3), dtype=np.uint8)
    noisy, quiet = (recipe(name, view_size=SIZE, erase_probability=0.0, noise_probability=n) for n in (None, 0.0))
    views = ("standard", "mirrored_own_erasing")
    own = Augmentation(noisy, SIZE, 0, views).render(images, np.arange(60), 0)[1]
    standard = Augmentation(quiet, SIZE, 0, views).render(images, np.arange(60), 0)[0]
    assert (own[:, :, ::-1] == standard).all()


def test_a_strong_view_takes_the_recipes_crop_and_flip_but_none_of_its_other_changes() -> None:
    images = _make_images(20, *SIZE)
    plain, full = recipe("cifar", view_size=SIZE), recipe("trivial", view_size=SIZE, erase_probability=1.0)
    views = [Augmentation(r, SIZE, 0, ("strong",)).render(images, np.arange(20), 0) for r in (plain, full)]
    assert (views[0] == views[1]).all()


def test_scn_mirrors_a_quarter_of_the_images_and_puts_noise_on_another_quarter() -> None:
    images = np.tile(_make_images(1, 20, 20), (4000, 1, 1, 1))
    chosen = recipe("faces-scn", erase_probability=0.0)
    views = Augmentation(chosen, (20, 20), 0, ("standard",)).render(images, np.arange(4000), 0)[0]
    kept, flipped = ((views == one).all((1, 2, 3)) for one in (images, images[:, :, ::-1]))
    noisy = ~kept & ~flipped
    for part, share in ((kept, 0.5), (flipped, 0.25), (noisy, 0.25)):
        assert abs(part.mean() - share) < 0.03
    # What has noise is not mirrored as well.
    assert np.abs(views[noisy].astype(int) - images[noisy]).mean() < 6


def test_eac_puts_noise_on_half_of_the_images_and_mirrors_none() -> None:
    images = np.tile(_make_images(1, 20, 20), (2000, 1, 1, 1))
    chosen = recipe("faces-eac", erase_probability=0.0)
    views = Augmentation(chosen, (20, 20), 0, ("standard",)).render(images, np.arange(2000), 0)[0]
    assert abs((views == images).all((1, 2, 3)).mean() - 0.5) < 0.04
    assert np.abs(views.astype(int) - images).mean() < 4


def test_what_faces_lose_is_2_to_25_percent_in_half_of_the_images() -> None:
    images = np.full((2000, 40, 40, 3), 255, np.uint8)
    chosen = recipe("faces-scn", noise_probability=0.0, flip_or_noise=False)
    views = Augmentation(chosen, (40, 40), 0, ("standard",)).render(images, np.arange(2000), 0)[0]
    lost = (views == GREY).all(-1).mean((1, 2))
    assert abs((lost > 0).mean() - 0.5) < 0.04
    assert 0.015 < lost[lost > 0].min() < 0.03
    assert 0.23 < lost.max() < 0.27


def test_imagenet_shows_8_to_100_percent_of_an_image() -> None:
    y, x = np.mgrid[:100, :100]
    image = np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)
    images = np.tile(image, (3000, 1, 1, 1))
    views = Augmentation(recipe("imagenet", flip=False), (20, 20), 0, ("standard",)).render(images, np.arange(3000), 0)[
        0
    ]
    wide, high = (np.ptp(views[..., c].astype(int), axis=(1, 2)) / 2 / 95 for c in (0, 1))
    area = wide * high
    assert 0.06 < area.min() < 0.1
    assert area.max() > 0.9
    assert 0.45 < area.mean() < 0.55
    assert 0.7 < (wide / high)[area < 0.5].min() < 0.8
    assert 1.25 < (wide / high)[area < 0.5].max() < 1.4


def test_a_random_interpolation_is_bilinear_or_bicubic_by_halves() -> None:
    images = np.tile(_make_images(1, 9, 9), (400, 1, 1, 1))
    views = {
        kind: Augmentation(Recipe("resized", interpolation=kind), (20, 20), 0, ("standard",)).render(
            images, np.arange(400), 0
        )[0]
        for kind in ("bilinear", "bicubic", "random")
    }
    bilinear, bicubic = ((views["random"] == views[kind]).all((1, 2, 3)) for kind in ("bilinear", "bicubic"))
    assert (bilinear ^ bicubic).all()
    assert abs(bicubic.mean() - 0.5) < 0.08


def test_operations_differ_between_epochs_and_trivial_takes_one_at_any_strength() -> None:
    images = np.tile(_make_images(1, *SIZE), (3000, 1, 1, 1))
    chosen = recipe("trivial", view_size=SIZE, crop="centre", flip=False)
    views = Augmentation(chosen, SIZE, 0, ("standard",)).render(images, np.arange(3000), 0)[0]
    # Identity, the lowest strengths of others, and what finds nothing to spread in an image of all levels.
    assert 0.1 < (views == images).all((1, 2, 3)).mean() < 0.3
    assert len({view.tobytes() for view in views}) > 150
