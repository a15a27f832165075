"""What the pixels and the failures of images depend on beside the images."""

from __future__ import annotations

from PIL import features

from dropkd.data.jpegs import DECODING

__all__ = ["decoder_versions"]

_DECODERS = ("pil", "jpg", "jpg_2000", "webp", "avif", "libtiff", "libjpeg_turbo")


def decoder_versions() -> tuple[str | int | None, ...]:
    """Return what changes when images may decode otherwise: our own way, Pillow and the libraries that it calls."""
    return DECODING, *(features.version(decoder) for decoder in _DECODERS)
