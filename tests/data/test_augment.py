from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dropkd.data import Recipe, recipe
from dropkd.data import augment as augment_module
from dropkd.data.augment import Augmentation
from dropkd.data.colours import GREY, STRONG_CHANGES, change_strongly, erased_box, square_box
from dropkd.data.geometry import fit_frame, resized_box
from dropkd.errors import ConfigError

SIZE = (12, 16)
IMAGES = np.random.default_rng(0).integers(1, 256, (40, *SIZE, 3), dtype=np.uint8)
INDEX = np.arange(40)
RECIPES = [
    Recipe("shift", erase_probability=0.5, color_jitter=0.3),
    Recipe("resized", erase_probability=0.5),
    Recipe("centre", flip=False),
]


def _render(recipe: Recipe, *views: str, seed: int = 0, epoch: int = 0, index: np.ndarray = INDEX) -> np.ndarray:
    return Augmentation(recipe, SIZE, seed, views or ("standard",)).render(IMAGES[index], index, epoch)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(RECIPES),
    st.integers(-3, 2**66),
    st.integers(0, 1000),
    st.lists(st.integers(0, 39), min_size=1, max_size=8),
)
def test_a_view_depends_on_seed_index_and_epoch_alone(recipe: Recipe, seed: int, epoch: int, index: list[int]) -> None:
    views = ("standard", "mirrored", "mirrored_own_erasing", "strong")
    together = _render(recipe, *views, seed=seed, epoch=epoch, index=np.array(index))
    for row, i in enumerate(index):
        alone = _render(recipe, *views, seed=seed, epoch=epoch, index=np.array([i]))
        assert (together[:, row] == alone[:, 0]).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_mirrored_view_is_the_exact_mirror_image_of_the_standard_view(recipe: Recipe) -> None:
    standard, mirrored = _render(recipe, "standard", "mirrored")
    assert (mirrored == standard[:, :, ::-1]).all()
    assert (_render(recipe, "mirrored")[0] == mirrored).all()


def _find_erased(views: np.ndarray, plain: np.ndarray) -> np.ndarray:
    return (views != plain).any(-1)


@pytest.mark.parametrize("crop", ["shift", "resized"])
def test_a_mirrored_view_may_have_a_rectangle_of_its_own_erased_from_the_same_crop(crop: str) -> None:
    plain = _render(Recipe(crop))[0]
    standard, mirrored = _render(Recipe(crop, erase_probability=0.5), "standard", "mirrored_own_erasing")
    erased = _find_erased(standard, plain), _find_erased(mirrored[:, :, ::-1], plain)
    assert (mirrored[:, :, ::-1][erased[1]] == GREY).all()
    for which in erased:
        assert 0.2 < which.any((1, 2)).mean() < 0.8
    both = erased[0].any((1, 2)) & erased[1].any((1, 2))
    assert both.any()
    assert (erased[0] != erased[1])[both].any((1, 2)).all()


def test_the_second_erased_rectangle_is_drawn_apart_from_the_first() -> None:
    index = np.arange(4000)
    images = np.zeros((4000, *SIZE, 3), np.uint8)
    recipe = Recipe(erase_probability=0.5)
    views = Augmentation(recipe, SIZE, 0, ("standard", "mirrored_own_erasing")).render(images, index, 0)
    first, second = ((view > 0).any((1, 2, 3)) for view in views)
    assert abs((first & second).mean() - 0.25) < 0.03
    assert abs((first | second).mean() - 0.75) < 0.03


def test_a_mirrored_view_with_its_own_erasing_keeps_its_colours() -> None:
    recipe = Recipe("shift", color_jitter=0.5)
    standard, mirrored = _render(recipe, "standard", "mirrored_own_erasing")
    plain = _render(Recipe("shift"))[0]
    assert (mirrored == plain[:, :, ::-1]).all()
    assert (standard != plain).any((1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_standard_view_is_the_same_whatever_is_asked_for_beside_it(recipe: Recipe) -> None:
    alone = _render(recipe)[0]
    assert (_render(recipe, "strong", "standard")[1] == alone).all()
    assert (_render(recipe, "standard", "standard")[0] == alone).all()
    assert (_render(recipe, "standard", "mirrored_own_erasing")[0] == alone).all()


def test_views_of_one_kind_epochs_and_seeds_differ() -> None:
    first, second = _render(RECIPES[0], "standard", "standard")
    assert (first != second).any()
    assert (_render(RECIPES[0], epoch=1)[0] != first).any()
    assert (_render(RECIPES[0], seed=1)[0] != first).any()


def test_without_augmentation_the_frame_is_as_it_is() -> None:
    assert (_render(recipe("none", flip=True))[0] == IMAGES).all()


def test_a_shift_moves_pixels_and_leaves_black_behind() -> None:
    views = _render(Recipe("shift", flip=False, crop_padding=3))[0]
    seen = set()
    for image, view in zip(IMAGES, views, strict=True):
        padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))
        matches = [
            (down, right)
            for down in range(7)
            for right in range(7)
            if (padded[down : down + SIZE[0], right : right + SIZE[1]] == view).all()
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert {down for down, _ in seen} == {right for _, right in seen} == set(range(7))
    assert len(seen) > 20


def test_half_of_the_images_are_flipped() -> None:
    index = np.tile(INDEX, 50)
    views = Augmentation(Recipe(crop_padding=0), SIZE, 0, ("standard",)).render(
        IMAGES[index], np.arange(len(index)), 0
    )[0]
    flipped = (views == IMAGES[index][:, :, ::-1]).all((1, 2, 3))
    kept = (views == IMAGES[index]).all((1, 2, 3))
    assert (flipped ^ kept).all()
    assert abs(flipped.mean() - 0.5) < 0.04


def test_padding_larger_than_the_image_leaves_a_part_of_it() -> None:
    views = _render(Recipe(crop_padding=100))[0]
    assert (views.max((1, 2, 3)) > 0).all()


def test_erasing_paints_a_grey_rectangle_of_2_to_25_percent() -> None:
    views = _render(Recipe(crop_padding=0, flip=False, erase_probability=1.0))[0]
    for image, view in zip(IMAGES, views, strict=True):
        changed = (view != image).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = view[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == GREY).all()
        assert 1 <= changed.sum() <= 0.32 * changed.size


@settings(deadline=None)
@given(st.floats(0.02, 0.25), st.floats(0.3, 10 / 3), st.floats(0, 1), st.floats(0, 1))
def test_what_is_erased_lies_inside_the_view(share: float, ratio: float, across: float, down: float) -> None:
    top, left, bottom, right = erased_box((30, 50), share, ratio, across, down)
    assert 0 <= top < bottom <= 30
    assert 0 <= left < right <= 50
    # Sides are rounded to whole pixels, and cut where they are longer than the view's.
    assert (bottom - top) * (right - left) <= share * 1500 + 40
    if across in (0, 1):
        assert left == 0 or right == 50


@pytest.mark.parametrize(
    ("share", "across", "down", "box"),
    [(0.5, 0.5, 0.5, (8, 18, 22, 32)), (0.5, 0.0, 1.0, (22, 0, 30, 8)), (0.0, 0.5, 0.5, (15, 25, 15, 25))],
)
def test_the_square_lies_around_its_centre_and_is_cut_at_the_border(
    share: float, across: float, down: float, box: tuple[int, int, int, int]
) -> None:
    assert square_box((30, 50), share, across, down) == box


def test_erasing_happens_as_often_as_asked() -> None:
    index = np.arange(2000)
    images = np.zeros((2000, *SIZE, 3), np.uint8)
    views = Augmentation(Recipe(erase_probability=0.3), SIZE, 0, ("standard",)).render(images, index, 0)[0]
    assert abs((views > 0).any((1, 2, 3)).mean() - 0.3) < 0.04


def test_colour_jitter_changes_colours_but_not_places() -> None:
    image = np.full((1, *SIZE, 3), (200, 100, 50), np.uint8)
    views = Augmentation(Recipe(color_jitter=0.5, crop_padding=0), SIZE, 0, ("standard",))
    view = views.render(image, np.array([0]), 0)[0, 0]
    assert (view == view[0, 0]).all()
    assert (view[0, 0] != image[0, 0, 0]).any()


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.floats(0.05, 1.0),
    st.floats(0.75, 4 / 3),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_crop_lies_inside_the_image(
    native: tuple[int, int], share: float, stretch: float, across: float, down: float
) -> None:
    left, top, right, bottom = resized_box(native, SIZE, share, stretch, across, down)
    assert 0 <= left < right <= native[1]
    assert 0 <= top < bottom <= native[0]
    assert (right - left) * (bottom - top) <= share * native[0] * native[1] * (1 + 1e-9)


def test_a_crop_of_everything_is_the_frame() -> None:
    views = _render(Recipe("resized", flip=False, crop_scale=(1.0, 1.0)))[0]
    # Shapes up to 4:3 still cut some of the width or height off.
    assert np.abs(views.astype(int).mean((1, 2)) - IMAGES.mean((1, 2))).max() < 25


@pytest.mark.parametrize("native", [(24, 32), (50, 32), (24, 90), (6, 8)])
def test_the_frame_is_the_largest_centred_part(native: tuple[int, int]) -> None:
    image = np.zeros((*native, 3), np.uint8)
    scale = min(native[0] / SIZE[0], native[1] / SIZE[1])
    high, wide = round(SIZE[0] * scale), round(SIZE[1] * scale)
    top, left = (native[0] - high) // 2, (native[1] - wide) // 2
    image[top : top + high, left : left + wide] = 200
    frame = fit_frame(image, SIZE)
    assert frame.shape == (*SIZE, 3)
    # At the edge, smoothing reaches a little beyond the part that is shown.
    assert (frame[1:-1, 1:-1] == 200).all()
    assert (fit_frame(Image.fromarray(image), SIZE) == frame).all()


def test_a_frame_whose_sides_are_no_whole_multiples_stays_inside_the_image() -> None:
    # 25 * (7 / 25) is a little more than 7.
    assert fit_frame(np.full((7, 1, 3), 9, np.uint8), (25, 1)).shape == (25, 1, 3)


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    assert (fit_frame(IMAGES[0], SIZE) == IMAGES[0]).all()


@pytest.mark.parametrize("name", STRONG_CHANGES)
def test_each_strong_change_keeps_the_size_at_any_strength(name: str) -> None:
    for strength in (0.0, 0.3, 0.999):
        changed = STRONG_CHANGES[name](Image.fromarray(IMAGES[0]), strength)
        assert changed.mode == "RGB"
        assert changed.size == SIZE[::-1]


def test_turns_and_moves_of_half_strength_change_nothing() -> None:
    for name in ("rotate", "shear_x", "shear_y", "move_x", "move_y"):
        assert (np.asarray(STRONG_CHANGES[name](Image.fromarray(IMAGES[0]), 0.5)) == IMAGES[0]).all()


def test_each_strong_change_has_its_share_of_the_choices() -> None:
    image = Image.fromarray(IMAGES[0])
    for i, change in enumerate(STRONG_CHANGES.values()):
        for choice in (i / 14 + 1e-9, (i + 1) / 14 - 1e-9):
            assert change_strongly(image, choice, 0.2) == change(image, 0.2)


def test_a_strong_view_has_a_crop_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_module, "change_strongly", lambda image, choice, strength: image)
    monkeypatch.setattr(augment_module, "_SQUARE_SHARE", 0.0)
    standard, strong = _render(Recipe(), "standard", "strong")
    # A shift of up to 4 px each way and a flip: one of 162 crops.
    assert (strong == standard).all((1, 2, 3)).sum() <= 3
    assert (strong == _render(Recipe(), "strong", epoch=1)[0]).all((1, 2, 3)).sum() <= 3


def test_a_strong_view_has_a_grey_square() -> None:
    strong = _render(Recipe(), "strong")[0]
    # Random pixels are grey by chance once in 16 million; squares of less than a pixel are few.
    assert (strong == GREY).all(-1).any((1, 2)).mean() > 0.7


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown view 'stron'\. .*Did you mean 'strong'\?"):
        _render(Recipe(), "stron")
