"""Which random changes training images get, and sizes and recipes that fit the images at hand."""

from __future__ import annotations

from dataclasses import dataclass

from dropkd.errors import ConfigError, did_you_mean

__all__ = ["AUGMENTATIONS", "Recipe", "default_image_size", "default_recipe"]

AUGMENTATIONS = ("crop-flip", "resized-crop", "none")

# Up to this many pixels on the longer side an image is small: every pixel counts, so no zoom.
_SMALL_SIDE = 64
# Images are enlarged to a pretrained network's own size by no more than this unless the user asks for it.
_MOST_ENLARGEMENT = 1.5
# The size that photographs are shown at where no pretrained network asks for one.
_PHOTO_SIDE = 224
# Strides of most networks divide 32, so their maps come out even.
_STRIDE = 32


@dataclass(frozen=True)
class Recipe:
    """The random changes of a training image.

    Args:
        augmentation: ``crop-flip`` shifts the centre frame by up to ``crop_padding`` pixels each way, black
            beyond the border (small images); ``resized-crop`` shows a part of the image, of random size and
            shape, at full size (photographs); ``none`` shows the centre frame as it is and switches
            everything below off.
        flip: mirror every second image left to right. Switch it off where left and right differ (digits,
            letters).
        crop_padding: largest shift in pixels of the view.
        scale: smallest and largest share of the image's area that ``resized-crop`` shows.
        erase_probability: how often a rectangle of 2 to 25 % of the area is painted grey, in [0, 1].
        color_jitter: brightness, contrast and saturation are scaled by factors from ``1 - color_jitter`` to
            ``1 + color_jitter``, in [0, 1]; 0 leaves colours alone.

    Raises:
        ConfigError: an unknown augmentation or a value out of range.
    """

    augmentation: str = "crop-flip"
    flip: bool = True
    crop_padding: int = 4
    # Half of the images show 70 % of their area or more; the customary 0.08 needs hundreds of epochs.
    scale: tuple[float, float] = (0.35, 1.0)
    erase_probability: float = 0.0
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise ConfigError(
                f"unknown augmentation {self.augmentation!r}. There are: {', '.join(AUGMENTATIONS)}."
                f"{did_you_mean(self.augmentation, AUGMENTATIONS)}"
            )
        if self.crop_padding < 0:
            raise ConfigError(f"crop_padding must be 0 or more pixels, got {self.crop_padding!r}.")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"scale must be two shares of the area, 0 < low <= high <= 1, got {self.scale!r}.")
        for name in ("erase_probability", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)!r}.")


def default_recipe(native_size: tuple[int, int], view_size: tuple[int, int]) -> Recipe:
    """Return the recipe for images of a size: shifts up to 64 px, crops of random size for larger ones.

    Args:
        native_size: height and width of the images as they are.
        view_size: height and width at which they are shown; shifts go up to an eighth of it.

    Example:
        >>> default_recipe((32, 32), (32, 32)).crop_padding
        4
        >>> default_recipe((480, 640), (224, 224)).augmentation
        'resized-crop'
    """
    small = max(native_size) <= _SMALL_SIDE
    padding = max(1, (min(view_size) + 4) // 8)
    return Recipe("crop-flip" if small else "resized-crop", crop_padding=padding)


def default_image_size(native_size: tuple[int, int], model_native: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and width to show images at when the user names none.

    A pretrained network gets its own size if the images need no more than 1.5 times enlargement for it; else
    small images (up to 64 px) are shown as they are, larger ones as a square of their shorter side, in steps
    of 32 px, up to 224 px.

    Args:
        native_size: height and width of the images as they are.
        model_native: the size that the network was pretrained at; None where it was not.

    Example:
        >>> default_image_size((28, 28), (224, 224))
        (28, 28)
        >>> default_image_size((375, 500), (256, 256))
        (256, 256)
    """
    shorter = min(native_size)
    if model_native is not None and shorter * _MOST_ENLARGEMENT >= max(model_native):
        return model_native
    if max(native_size) <= _SMALL_SIDE:
        return native_size
    side = min(_PHOTO_SIDE, max(_STRIDE, round(shorter / _STRIDE) * _STRIDE))
    return (side, side)
