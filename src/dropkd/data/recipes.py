"""What a recipe of random changes is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dropkd.config.augmentations import find_augmentation
from dropkd.errors import ConfigError, did_you_mean

__all__ = ["CROPS", "INTERPOLATIONS", "LEVELS", "OPERATION_SETS", "RECIPE_PARTS", "Recipe"]

CROPS = ("shift", "resized", "centre")
INTERPOLATIONS = ("bilinear", "bicubic", "random")
OPERATION_SETS = ("none", "trivial", "rand")
# TrivialAugment and RandAugment both know strengths of 0 to 30.
LEVELS = 31

_CHOICES = {"crop": CROPS, "interpolation": INTERPOLATIONS, "operations": OPERATION_SETS}


@dataclass(frozen=True)
class Recipe:
    """The random changes of a training image, in the order in which they happen.

    :func:`dropkd.data.recipe` makes those that have a name.

    Args:
        crop: ``shift`` moves the centre frame by up to ``crop_padding`` pixels each way, black beyond the border
            (small images); ``resized`` shows a part of the image, of random size and shape, at full size
            (photographs); ``centre`` shows the centre frame.
        crop_padding: largest shift in pixels of the view.
        crop_scale: smallest and largest share of the image's area that a ``resized`` crop shows.
        crop_ratio: narrowest and widest shape of a ``resized`` crop, width over height, where that of the view is 1.
        interpolation: how images are brought to the size of the view: ``bilinear``, ``bicubic``, or ``random``, one
            of the two for each view.
        flip: mirror every second image left to right. Switch it off where left and right differ (digits,
            letters).
        noise_probability: how often Gaussian noise of variance 30 (of 255 levels) is added to an image, before it is
            resized; in [0, 1].
        flip_or_noise: mirror an image or add noise to it, never both: which of the two is drawn first, then
            whether it happens.
        operations: ``trivial`` is one operation of TrivialAugment's wide space at a random strength; ``rand`` is
            ``rand_ops`` operations of RandAugment's at strength ``rand_magnitude``; ``none``.
        rand_ops: number of RandAugment's operations, one after another.
        rand_magnitude: their strength, 0 to 30.
        color_jitter: brightness, contrast and saturation are scaled by factors from ``1 - color_jitter`` to
            ``1 + color_jitter``, in [0, 1]; 0 leaves colours alone.
        erase_probability: how often a rectangle is painted grey, in [0, 1].
        erase_scale: smallest and largest share of the view's area that the rectangle has.

    Raises:
        ConfigError: an unknown choice or a value out of range.
    """

    crop: str = "shift"
    crop_padding: int = 4
    # Half of the images show 70 % of their area or more; the customary 0.08 needs hundreds of epochs.
    crop_scale: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    flip: bool = True
    noise_probability: float = 0.0
    flip_or_noise: bool = False
    operations: str = "none"
    rand_ops: int = 2
    rand_magnitude: int = 9
    color_jitter: float = 0.0
    erase_probability: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.25)

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                near = did_you_mean(str(value), known)
                if name == "crop" and find_augmentation(str(value)) is not None:
                    near = f" A recipe by its name is made by dropkd.data.recipe({value!r})."
                raise ConfigError(f"unknown {name} {value!r}. There are: {', '.join(known)}.{near}")
        if self.crop_padding < 0:
            raise ConfigError(f"crop_padding must be 0 or more pixels, got {self.crop_padding!r}.")
        if self.rand_ops < 0:
            raise ConfigError(f"rand_ops must be 0 or more, got {self.rand_ops!r}.")
        if not 0 <= self.rand_magnitude < LEVELS:
            raise ConfigError(f"rand_magnitude must lie in 0..{LEVELS - 1}, got {self.rand_magnitude!r}.")
        for name, most in (("crop_scale", 1.0), ("erase_scale", 1.0), ("crop_ratio", float("inf"))):
            self._check_range(name, most)
        for name in ("noise_probability", "color_jitter", "erase_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)!r}.")

    def _check_range(self, name: str, most: float) -> None:
        value = getattr(self, name)
        if len(value) != 2 or not 0 < value[0] <= value[1] <= most or value[1] == float("inf"):
            limit = "" if most == float("inf") else " <= 1"
            raise ConfigError(f"{name} must be two numbers, 0 < low <= high{limit}, got {value!r}.")

    @property
    def starts_with_frame(self) -> bool:
        """Whether every view of an image is made of one and the same frame, which may then be made once."""
        return self.crop != "resized" and self.interpolation != "random" and not self.noise_probability


RECIPE_PARTS = tuple(field.name for field in fields(Recipe))
