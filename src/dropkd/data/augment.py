"""The random views of training images, each a pure function of (seed, index, epoch, view)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropkd.data import counters
from dropkd.data.colours import GREY, change_strongly, erased_box, jitter_colours, square_box
from dropkd.data.geometry import Pixels, as_picture, as_pixels, fit_frame, resized_box, shift_into, show_box
from dropkd.data.images import Picture
from dropkd.data.recipe import Recipe
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["VIEW_KINDS", "Augmentation"]

VIEW_KINDS = ("standard", "mirrored", "mirrored_own_erasing", "strong")

# Which random numbers a view takes; the views of one stream share theirs.
_STANDARD, _STRONG, _OWN_ERASING = range(3)

# Shapes of crops: at most 4:3 and 3:4 of the view's, as is customary.
_LOG_STRETCH = math.log(4 / 3)
# What is erased: its share of the area as the face recipes have it, its shape as in "Random Erasing" (2020).
_ERASED_SHARE, _ERASED_LOG_RATIO = (0.02, 0.25), math.log(10 / 3)
# The grey square of a strong view has at most half the shorter side.
_SQUARE_SHARE = 0.5

# The columns of the random numbers; a number must not be used for two things.
_FLIP, _DOWN, _ACROSS, _SHARE, _STRETCH, _ERASE, _ERASE_SHARE, _ERASE_RATIO, _ERASE_ACROSS, _ERASE_DOWN = range(10)
_BRIGHTNESS, _CONTRAST, _SATURATION = range(10, 13)
_FIRST_CHANGE, _FIRST_STRENGTH, _SECOND_CHANGE, _SECOND_STRENGTH, _SIDE, _SQUARE_ACROSS, _SQUARE_DOWN = range(13, 20)


@dataclass(frozen=True)
class _View:
    """One view: which random numbers place it and which paint it, and what is done to it.

    Args:
        stream: the random numbers of its crop and flip.
        paint: those of its colours and of what is erased.
        strong: whether it is changed strongly.
        mirrored: whether it is shown in the mirror.
        jittered: whether the recipe's changes of colour are for it.
    """

    stream: tuple[int, int]
    paint: tuple[int, int]
    strong: bool = False
    mirrored: bool = False
    jittered: bool = True


class Augmentation:
    """Makes the random views of images.

    ``standard`` views follow the recipe. ``mirrored`` is the exact mirror image, left to right, of the
    standard view, with the same part erased. ``mirrored_own_erasing`` is the mirror image of the same crop
    and flip, but with a part of its own erased (or none) and its colours left alone. ``strong`` has a crop
    and flip of its own, then two of fourteen changes (turns, moves, colours; see ``colours.STRONG_CHANGES``)
    of random strength and a grey square. A kind that is named twice gives two independent views.

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
        self.views = [_plan_view(views, i) for i in range(len(views))]

    def render(
        self,
        images: Iterable[Picture | Pixels],
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
        streams = {s: _Draws(self.seed, epoch, s, index, repeat) for v in self.views for s in (v.stream, v.paint)}
        tables = {v.stream: self._draw_geometry(streams[v.stream]) for v in self.views}
        for row, image in enumerate(images):
            for number, view in enumerate(self.views):
                self._place(out[number, row], image, tables[view.stream], row)
                self._paint(out[number, row], view, streams[view.paint], row)
        for number, view in enumerate(self.views):
            if view.mirrored:
                out[number] = out[number][:, :, ::-1].copy()
        return out

    def _draw_geometry(self, draws: _Draws) -> list[list[float]]:
        """Return for each image what its crop needs, so that the loop over images has plain numbers."""
        recipe = self.recipe
        flip = draws[_FLIP] < (0.5 if recipe.flip else 0.0)
        if recipe.augmentation == "crop-flip":
            reach = 2 * recipe.crop_padding + 1
            shifts = [np.floor(draws[c] * reach).astype(np.int64) - recipe.crop_padding for c in (_DOWN, _ACROSS)]
            return [flip.tolist(), *(s.tolist() for s in shifts)]
        if recipe.augmentation == "resized-crop":
            low, high = recipe.scale
            share = low + (high - low) * draws[_SHARE]
            stretch = np.exp((2 * draws[_STRETCH] - 1) * _LOG_STRETCH)
            return [c.tolist() for c in (flip, share, stretch, draws[_ACROSS], draws[_DOWN])]
        return []

    def _place(self, out: Pixels, image: Picture | Pixels, table: list[list[float]], row: int) -> None:
        if self.recipe.augmentation == "crop-flip":
            flip, down, right = (column[row] for column in table)
            limit_down, limit_right = (_limit(int(s), n) for s, n in zip((down, right), self.size, strict=True))
            shift_into(out, fit_frame(image, self.size), limit_down, limit_right, bool(flip))
        elif self.recipe.augmentation == "resized-crop":
            flip, share, stretch, across, down = (column[row] for column in table)
            picture = as_picture(image)
            box = resized_box((picture.height, picture.width), self.size, share, stretch, across, down)
            shift_into(out, show_box(picture, box, self.size), 0, 0, bool(flip))
        else:
            out[:] = fit_frame(image, self.size)

    def _paint(self, out: Pixels, view: _View, draws: _Draws, row: int) -> None:
        """Change colours and paint over parts of a placed view."""
        recipe = self.recipe
        if view.strong:
            picture = as_picture(out)
            for choice, strength in ((_FIRST_CHANGE, _FIRST_STRENGTH), (_SECOND_CHANGE, _SECOND_STRENGTH)):
                picture = change_strongly(picture, draws[choice][row], draws[strength][row])
            out[:] = as_pixels(picture)
            share = _SQUARE_SHARE * draws[_SIDE][row]
            _fill(out, square_box(self.size, share, draws[_SQUARE_ACROSS][row], draws[_SQUARE_DOWN][row]))
            return
        if recipe.augmentation == "none":
            return
        if recipe.color_jitter and view.jittered:
            columns = (_BRIGHTNESS, _CONTRAST, _SATURATION)
            factors = [1 + recipe.color_jitter * (2 * draws[c][row] - 1) for c in columns]
            out[:] = as_pixels(jitter_colours(as_picture(out), factors))
        if recipe.erase_probability and draws[_ERASE][row] < recipe.erase_probability:
            share = _ERASED_SHARE[0] + (_ERASED_SHARE[1] - _ERASED_SHARE[0]) * draws[_ERASE_SHARE][row]
            ratio = math.exp((2 * draws[_ERASE_RATIO][row] - 1) * _ERASED_LOG_RATIO)
            _fill(out, erased_box(self.size, share, ratio, draws[_ERASE_ACROSS][row], draws[_ERASE_DOWN][row]))


class _Draws:
    """The random numbers of a batch, a column at a time, made when first asked for."""

    def __init__(
        self,
        seed: int,
        epoch: int,
        stream: tuple[int, int],
        index: NDArray[np.int64],
        repeat: NDArray[np.int64] | None,
    ) -> None:
        self.keys = counters.image_keys(counters.stream_key(seed, epoch, *stream), index)
        for number in np.unique(repeat[repeat > 0]).tolist() if repeat is not None else ():
            again = repeat == number
            self.keys[again] = counters.image_keys(counters.stream_key(seed, epoch, *stream, number), index[again])
        self.columns: dict[int, NDArray[np.float64]] = {}

    def __getitem__(self, column: int) -> NDArray[np.float64]:
        if column not in self.columns:
            self.columns[column] = counters.uniform(self.keys, column)
        return self.columns[column]


def _plan_view(views: tuple[str, ...], position: int) -> _View:
    """Return a view's plan; the n-th mirrored view of either kind is placed like the n-th standard view."""
    kind = views[position]
    if kind not in VIEW_KINDS:
        raise ConfigError(f"unknown view {kind!r}. There are: {', '.join(VIEW_KINDS)}.{did_you_mean(kind, VIEW_KINDS)}")
    number = views[:position].count(kind)
    standard, strong, own_erasing = ((stream, number) for stream in (_STANDARD, _STRONG, _OWN_ERASING))
    plans = {
        "standard": _View(standard, standard),
        "mirrored": _View(standard, standard, mirrored=True),
        "mirrored_own_erasing": _View(standard, own_erasing, mirrored=True, jittered=False),
        "strong": _View(strong, strong, strong=True),
    }
    return plans[kind]


def _limit(shift: int, length: int) -> int:
    """Keep a shift from leaving nothing of the image (only where the padding is larger than the image)."""
    return max(1 - length, min(length - 1, shift))


def _fill(out: Pixels, box: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = box
    out[top:bottom, left:right] = GREY
