"""The operations of TrivialAugment and RandAugment: fourteen changes of one image, each of 31 strengths.

Pixels that come from beyond the border are black, and turns and shears take the nearest pixel, as in the authors'
code and in torchvision's, whose pixels these are.

References:
    Müller, Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021 (table 1, the wide
    space). Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search space",
    NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

from dropkd.data.images import Picture
from dropkd.data.recipes import LEVELS

__all__ = ["OPERATIONS", "SPACES", "Strengths", "operate"]

# RandAugment moves an image by up to this share of its side: 150 pixels of 331 in the authors' code.
_RAND_MOVE = 150 / 331


def _transform(image: Picture, *matrix: float) -> Picture:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(0, 0, 0))


# Each takes the image and a strength in the operation's own unit: a slope, pixels, degrees, a change of a factor of 1,
# bits that are kept, a share of the full range.
OPERATIONS: dict[str, Callable[[Picture, float], Picture]] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, slope: _transform(image, 1, slope, 0, 0, 1, 0),
    "shear_y": lambda image, slope: _transform(image, 1, 0, 0, slope, 1, 0),
    "move_x": lambda image, pixels: _transform(image, 1, 0, -int(pixels), 0, 1, 0),
    "move_y": lambda image, pixels: _transform(image, 1, 0, 0, 0, 1, -int(pixels)),
    "rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=(0, 0, 0)),
    "brightness": lambda image, change: ImageEnhance.Brightness(image).enhance(1 + change),
    "colour": lambda image, change: ImageEnhance.Color(image).enhance(1 + change),
    "contrast": lambda image, change: ImageEnhance.Contrast(image).enhance(1 + change),
    "sharpness": lambda image, change: ImageEnhance.Sharpness(image).enhance(1 + change),
    "posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarize": lambda image, share: ImageOps.solarize(image, 255 * share),  # type: ignore[arg-type]
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}


@dataclass(frozen=True)
class Strengths:
    """The strengths of an operation.

    Args:
        first: at level 0.
        last: at level 30; the levels between lie evenly.
        signed: whether it goes either way, at even odds.
        relative: whether it is a share of the view's width (``move_x``) or height (``move_y``).
        whole: whether it is rounded to a whole number.
    """

    first: float
    last: float
    signed: bool = False
    relative: bool = False
    whole: bool = False

    def at(self, level: int, side: int) -> float:
        """Return the strength at a level for a view whose side has so many pixels."""
        strength = self.first + (self.last - self.first) * level / (LEVELS - 1)
        if self.relative:
            return strength * side
        return round(strength) if self.whole else strength


_NONE = Strengths(0, 0)
_UNCHANGING = {"identity": _NONE, "autocontrast": _NONE, "equalize": _NONE}
_COLOURS = ("brightness", "colour", "contrast", "sharpness")

# Both draw among the same fourteen operations.
SPACES: Mapping[str, Mapping[str, Strengths]] = {
    "trivial": {
        **_UNCHANGING,
        **dict.fromkeys(("shear_x", "shear_y"), Strengths(0, 0.99, signed=True)),
        **dict.fromkeys(("move_x", "move_y"), Strengths(0, 32, signed=True)),
        "rotate": Strengths(0, 135, signed=True),
        **dict.fromkeys(_COLOURS, Strengths(0, 0.99, signed=True)),
        "posterize": Strengths(8, 2, whole=True),
        "solarize": Strengths(1, 0),
    },
    "rand": {
        **_UNCHANGING,
        **dict.fromkeys(("shear_x", "shear_y"), Strengths(0, 0.3, signed=True)),
        **dict.fromkeys(("move_x", "move_y"), Strengths(0, _RAND_MOVE, signed=True, relative=True)),
        "rotate": Strengths(0, 30, signed=True),
        **dict.fromkeys(_COLOURS, Strengths(0, 0.9, signed=True)),
        "posterize": Strengths(8, 4, whole=True),
        "solarize": Strengths(1, 0),
    },
}


def operate(image: Picture, space: str, choice: float, level: int, sign: float) -> Picture:
    """Apply one operation.

    Args:
        image: RGB.
        space: ``trivial`` or ``rand``.
        choice: which operation, in [0, 1).
        level: how strong, 0 to 30.
        sign: which way, in [0, 1): below a half against the operation's own direction, where it has two.
    """
    strengths = SPACES[space]
    name = list(strengths)[int(choice * len(strengths))]
    strength = strengths[name].at(level, image.width if name == "move_x" else image.height)
    return OPERATIONS[name](image, -strength if strengths[name].signed and sign < 0.5 else strength)
