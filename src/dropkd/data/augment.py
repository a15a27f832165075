"""The random views of training images, each a pure function of (seed, index, epoch, view)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dropkd.data import counters
from dropkd.data.colours import GREY, change_strongly, erased_box, jitter_colours, square_box
from dropkd.data.draws import Draws
from dropkd.data.geometry import (
    Native,
    Pixels,
    as_picture,
    as_pixels,
    fit_frame,
    measure_native,
    resized_box,
    shift_into,
    show_photo,
)
from dropkd.data.noise import add_noise
from dropkd.data.operations import operate
from dropkd.data.recipes import LEVELS, Recipe
from dropkd.data.shifting import PackedRows, Shifts, shift_images
from dropkd.data.view_kinds import VIEW_KINDS, ViewPlan, plan_view

__all__ = ["VIEW_KINDS", "Augmentation"]

# The shape of what is erased as in "Random Erasing" (2020).
_ERASED_LOG_RATIO = math.log(10 / 3)
# The grey square of a strong view has at most half the shorter side.
_SQUARE_SHARE = 0.5

# The columns of the random numbers; a number must not be used for two things.
_FLIP, _DOWN, _ACROSS, _SHARE, _STRETCH, _ERASE, _ERASE_SHARE, _ERASE_RATIO, _ERASE_ACROSS, _ERASE_DOWN = range(10)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(10, 13)
_FIRST_CHANGE, _FIRST_STRENGTH, _SECOND_CHANGE, _SECOND_STRENGTH, _SIDE, _SQUARE_ACROSS, _SQUARE_DOWN = range(13, 20)
_INTERPOLATION, _NOISE, _NOISE_FIELD = range(20, 23)
# From here on three for each operation: which, how strong, which way.
_FIRST_OPERATION = 30


class Augmentation:
    """Makes the random views of images.

    ``standard`` views follow the recipe. ``mirrored`` is the exact mirror image, left to right, of the
    standard view, with the same part erased. ``mirrored_own_erasing`` is the mirror image of the same crop
    and flip with the same operations, but with a part of its own erased (or none) and its colours left alone.
    ``strong`` has a crop and flip of its own by the recipe, then, in place of the recipe's other changes, two of
    fourteen changes (turns, moves, colours; see ``colours.STRONG_CHANGES``) of random strength and a grey
    square. A kind that is named twice gives two independent views.

    Args:
        recipe: the random changes.
        size: height and width of the views.
        seed: any whole number.
        views: the kinds of view, in order.

    Raises:
        ConfigError: a kind of view is unknown.
    """

    def __init__(self, recipe: Recipe, size: tuple[int, int], seed: int, views: tuple[str, ...]) -> None:
        self.recipe = recipe
        self.size = size
        self.seed = seed
        self.views = [plan_view(views, i) for i in range(len(views))]

    def render(
        self,
        images: Iterable[Native] | PackedRows,
        index: NDArray[np.int64],
        epoch: int,
        repeat: NDArray[np.int64] | None = None,
    ) -> NDArray[np.uint8]:
        """Return the views of a batch, (V, B, H, W, 3) uint8.

        Args:
            images: the images, as many as ``index`` has entries.
            index: the number of each image in its split.
            epoch: the epoch, from 0.
            repeat: how often each image was shown before in this epoch; None: never. Its views are new ones each time.
        """
        out = np.zeros((len(self.views), len(index), *self.size, 3), np.uint8)
        streams = self._draw(index, epoch, repeat)
        if isinstance(images, PackedRows) and self.moves(images.array.shape[1:3]):
            for number, view in enumerate(self.views):
                shift_images(out[number], images, self._draw_shifts(streams[view.stream]))
        else:
            tables = {v.stream: self._draw_geometry(streams[v.stream]) for v in self.views}
            for row, image in enumerate(images):
                for number, view in enumerate(self.views):
                    draws = streams[view.stream]
                    source = self._add_noise(image, view, draws, row)
                    self._place(out[number, row], source, tables[view.stream], draws, row)
        for number, view in enumerate(self.views):
            for row in self._find_painted(view, streams[view.paint]):
                self._paint(out[number, row], view, streams, row)
            if view.mirrored:
                out[number] = out[number][:, :, ::-1].copy()
        return out

    def moves(self, native: tuple[int, ...]) -> bool:
        """Whether views of images of this (height, width) are these images, moved by whole pixels, before painting."""
        return native == self.size and self.recipe.crop != "resized" and not self.recipe.noise_probability

    @property
    def only_moves(self) -> bool:
        """Whether nothing else than erasing is done to images that are moved."""
        recipe = self.recipe
        painted = recipe.operations != "none" or recipe.color_jitter or any(view.strong for view in self.views)
        return not painted

    def plan_moves(
        self, index: NDArray[np.int64], epoch: int, repeat: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return how :meth:`render` moves images and what it erases, (V, B, 7), where it does nothing else.

        The numbers are those of :func:`dropkd.data.shifting.shift_tensors`, but for the row.
        """
        streams = self._draw(index, epoch, repeat)
        plans = np.zeros((len(self.views), len(index), 7), np.int64)
        for plan, view in zip(plans, self.views, strict=True):
            shifts, draws = self._draw_shifts(streams[view.stream]), streams[view.paint]
            plan[:, 0], plan[:, 1], plan[:, 2] = shifts.down, shifts.right, shifts.mirror
            for row in self._find_painted(view, draws):
                plan[row, 3:] = self._erased_box(draws, row)
        return plans

    def _draw(
        self, index: NDArray[np.int64], epoch: int, repeat: NDArray[np.int64] | None
    ) -> dict[tuple[int, int], Draws]:
        return {s: Draws(self.seed, epoch, s, index, repeat) for v in self.views for s in (v.stream, v.paint)}

    def _draw_flips(self, draws: Draws) -> NDArray[np.bool_]:
        recipe = self.recipe
        # Where only one of the two may happen, the lower half of the draw is for the flip.
        odds = 0.25 if recipe.flip_or_noise else 0.5
        flips: NDArray[np.bool_] = draws[_FLIP] < (odds if recipe.flip else 0.0)
        return flips

    def _draw_shifts(self, draws: Draws) -> Shifts:
        padding = self.recipe.crop_padding if self.recipe.crop == "shift" else 0
        down, right = (
            # A shift leaves something of the image, even where the padding is larger than the image.
            (np.floor(draws[column] * (2 * padding + 1)).astype(np.int64) - padding).clip(1 - length, length - 1)
            for column, length in zip((_DOWN, _ACROSS), self.size, strict=True)
        )
        return Shifts(down, right, self._draw_flips(draws))

    def _draw_geometry(self, draws: Draws) -> list[list[float]]:
        """Return for each image what its crop needs, so that the loop over images has plain numbers."""
        recipe = self.recipe
        if recipe.crop == "resized":
            low, high = recipe.crop_scale
            area = low + (high - low) * draws[_SHARE]
            middle, half = _log_middle_and_half(*recipe.crop_ratio)
            stretch = np.exp(middle + (2 * draws[_STRETCH] - 1) * half)
            return [c.tolist() for c in (self._draw_flips(draws), area, stretch, draws[_ACROSS], draws[_DOWN])]
        shifts = self._draw_shifts(draws)
        return [c.tolist() for c in (shifts.mirror, shifts.down, shifts.right)]

    def _add_noise(self, image: Native, view: ViewPlan, draws: Draws, row: int) -> Native:
        recipe = self.recipe
        if not recipe.noise_probability or not view.jittered:
            return image
        if recipe.flip_or_noise:
            noisy = 0.5 <= draws[_FLIP][row] < 0.5 + recipe.noise_probability / 2
        else:
            noisy = draws[_NOISE][row] < recipe.noise_probability
        if not noisy:
            return image
        pixels = as_pixels(image)
        return add_noise(pixels, counters.words(draws.keys[row], _NOISE_FIELD, -(-pixels.size // 4)))

    def _place(self, out: Pixels, image: Native, table: list[list[float]], draws: Draws, row: int) -> None:
        recipe = self.recipe
        flip, *numbers = (column[row] for column in table)
        interpolation = recipe.interpolation
        if interpolation == "random":
            interpolation = "bicubic" if draws[_INTERPOLATION][row] < 0.5 else "bilinear"
        if recipe.crop == "resized":
            box = resized_box(measure_native(image), self.size, *numbers)
            out[:] = show_photo(image, box, self.size, interpolation, bool(flip))
            return
        down, right = map(int, numbers)
        shift_into(out, fit_frame(image, self.size, interpolation), down, right, bool(flip))

    def _find_painted(self, view: ViewPlan, draws: Draws) -> Sequence[int]:
        """Return the rows of a batch that :meth:`_paint` changes."""
        recipe = self.recipe
        if view.strong or recipe.operations != "none" or (recipe.color_jitter and view.jittered):
            return range(len(draws.keys))
        rows: list[int] = np.flatnonzero(draws[_ERASE] < recipe.erase_probability).tolist()
        return rows

    def _paint(self, out: Pixels, view: ViewPlan, streams: dict[tuple[int, int], Draws], row: int) -> None:
        """Change colours and paint over parts of a placed view."""
        recipe, draws = self.recipe, streams[view.paint]
        if view.strong:
            self._change_strongly(out, draws, row)
            return
        if recipe.operations != "none":
            self._operate(out, streams[view.stream], row)
        if recipe.color_jitter and view.jittered:
            columns = (_BRIGHTNESS, _CONTRAST, _SATURATION)
            factors = [1 + recipe.color_jitter * (2 * draws[c][row] - 1) for c in columns]
            out[:] = as_pixels(jitter_colours(as_picture(out), factors))
        if recipe.erase_probability and draws[_ERASE][row] < recipe.erase_probability:
            _fill(out, self._erased_box(draws, row))

    def _erased_box(self, draws: Draws, row: int) -> tuple[int, int, int, int]:
        low, high = self.recipe.erase_scale
        share = low + (high - low) * draws[_ERASE_SHARE][row]
        ratio = math.exp((2 * draws[_ERASE_RATIO][row] - 1) * _ERASED_LOG_RATIO)
        return erased_box(self.size, share, ratio, draws[_ERASE_ACROSS][row], draws[_ERASE_DOWN][row])

    def _operate(self, out: Pixels, draws: Draws, row: int) -> None:
        """Apply the recipe's operations, by the numbers that placed the view: they move it as a crop does."""
        recipe, picture = self.recipe, as_picture(out)
        fixed = recipe.operations == "rand"
        for number in range(recipe.rand_ops if fixed else 1):
            choice, strength, sign = (draws[_FIRST_OPERATION + 3 * number + part][row] for part in range(3))
            level = recipe.rand_magnitude if fixed else int(strength * LEVELS)
            picture = operate(picture, recipe.operations, choice, level, sign)
        out[:] = as_pixels(picture)

    def _change_strongly(self, out: Pixels, draws: Draws, row: int) -> None:
        picture = as_picture(out)
        for choice, strength in ((_FIRST_CHANGE, _FIRST_STRENGTH), (_SECOND_CHANGE, _SECOND_STRENGTH)):
            picture = change_strongly(picture, draws[choice][row], draws[strength][row])
        out[:] = as_pixels(picture)
        share = _SQUARE_SHARE * draws[_SIDE][row]
        _fill(out, square_box(self.size, share, draws[_SQUARE_ACROSS][row], draws[_SQUARE_DOWN][row]))


def _log_middle_and_half(low: float, high: float) -> tuple[float, float]:
    """Return the middle of the logarithms of two ratios, and how far they are from it."""
    # The middle of a ratio and its inverse is 0, whatever rounding makes of it.
    middle = 0.0 if math.isclose(low * high, 1.0) else (math.log(low) + math.log(high)) / 2
    return middle, math.log(high) - middle


def _fill(out: Pixels, box: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = box
    out[top:bottom, left:right] = GREY
