"""A picture of what a recipe does: images from top to bottom, their views of consecutive epochs from left to right."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dropkd.data.augment import Augmentation
from dropkd.data.geometry import Pixels, as_picture, fit_frame
from dropkd.data.images import Picture
from dropkd.data.loaders import choose_source
from dropkd.data.recipes import Recipe
from dropkd.data.split import Split
from dropkd.errors import DataError

__all__ = ["draw_contact_sheet"]

# Views of fewer pixels are enlarged by a whole factor, so that each pixel is seen.
_LEAST_SIDE = 72
_GAP, _HEADING = 4, 18
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def draw_contact_sheet(
    split: Split,
    recipe: Recipe,
    *,
    size: tuple[int, int],
    seed: int = 0,
    images: int = 6,
    epochs: int = 8,
    kind: str = "standard",
) -> Picture:
    """Draw the very views that training sees, with the centre frame of each image as it is in the first column.

    Args:
        split: the images; those that are shown are spread evenly over it.
        recipe: the random changes.
        size: height and width of the views.
        seed: of the run.
        images: how many are shown, a row each.
        epochs: how many views of each, from epoch 0.
        kind: of view, see :class:`Augmentation`.

    Raises:
        DataError: the split has no images, or one can't be read.
        ConfigError: an unknown kind of view.
    """
    if not len(split):
        raise DataError(f"the split {split.name!r} has no images.")
    rows = np.unique(np.linspace(0, len(split) - 1, min(images, len(split))).round().astype(np.int64))
    source = choose_source(split)
    pictures = [source[row] for row in rows.tolist()]
    augmentation = Augmentation(recipe, size, seed, (kind,))
    columns = [[fit_frame(picture, size) for picture in pictures]]
    columns += [list(augmentation.render(pictures, rows, epoch)[0]) for epoch in range(epochs)]
    return _draw_grid(columns, ["image", *(f"epoch {epoch}" for epoch in range(epochs))], size)


def _draw_grid(columns: list[list[Pixels]], headings: list[str], size: tuple[int, int]) -> Picture:
    factor = -(-_LEAST_SIDE // max(size))
    high, wide = (side * factor for side in size)
    step_down, step_right = high + _GAP, max(wide, _LEAST_SIDE) + _GAP
    sheet = Image.new("RGB", (len(columns) * step_right + _GAP, len(columns[0]) * step_down + _HEADING + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for i, (column, heading) in enumerate(zip(columns, headings, strict=True)):
        left = i * step_right + _GAP
        pen.text((left, _GAP), heading, _INK, font=font)
        for j, pixels in enumerate(column):
            cell = as_picture(pixels).resize((wide, high), Image.Resampling.NEAREST)
            sheet.paste(cell, (left, j * step_down + _HEADING + _GAP))
    return sheet
