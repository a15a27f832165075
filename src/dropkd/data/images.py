"""Any image file as 8-bit RGB, the way people see it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dropkd.errors import DataError, DropKDError

__all__ = [
    "IMAGE_SUFFIXES",
    "Picture",
    "as_seen",
    "decode_from",
    "decode_image",
    "decode_reduced",
    "explain_failure",
    "explained",
    "load_image",
    "measure_as_seen",
    "open_image",
    "read_orientation",
]

Picture = Image.Image

IMAGE_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "gif", "webp", "avif", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "tga", "ico"),
    )
)

# What a file may hold, whatever its name says: formats that Pillow decodes without a foreign program.
_FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "BMP",
    "DIB",
    "GIF",
    "WEBP",
    "AVIF",
    "TIFF",
    "PPM",
    "JPEG2000",
    "TGA",
    "ICO",
)
_WHITE = (255, 255, 255, 255)

# The EXIF tag for how a camera was held, and what its values ask for; 1 is upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: str | Path) -> Picture:
    """Return the image of a file as RGB with 8 bits a channel.

    Grey, CMYK, palette, 16-bit and floating-point images are converted; transparent pixels lie on white; of
    an animated image the first frame is taken; a rotation noted by a camera (EXIF) is carried out.

    Raises:
        DataError: the file is missing, empty, truncated or no image.
    """
    return decode_from(Path(path).read_bytes, str(path))


def decode_from(read: Callable[[], bytes], name: str) -> Picture:
    """Return the image whose bytes a function gives; errors are explained and call it by ``name``.

    Raises:
        DataError: it can't be read, or is no image.
    """
    with explained(name):
        return decode_image(read())


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what goes wrong while an image is read into a :class:`DataError` that calls it by ``name``."""
    try:
        with warnings.catch_warnings():
            # Remarks on metadata (a corrupt EXIF block, say) change no pixel.
            warnings.filterwarnings("ignore", module="PIL")
            yield
    except DropKDError:
        raise
    except Exception as error:
        raise DataError(f"can't read the image {name!r}: {explain_failure(error)}.") from error


def decode_image(data: bytes) -> Picture:
    """Return the image that the bytes of a file hold, like :func:`load_image`; errors are Pillow's own."""
    return as_seen(open_image(data))


def as_seen(image: Picture) -> Picture:
    """Return an opened image as people see it: decoded, as RGB, and turned upright; errors are Pillow's own."""
    image.load()
    rgb = _as_rgb(image)
    turn = _TURNS.get(read_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def decode_reduced(data: bytes) -> tuple[tuple[int, int], Picture]:
    """Read all of an image; return its full (height, width) and a picture that may be smaller.

    A JPEG is decoded at an eighth of its size, which reads every byte and so finds a truncated file, in a
    third of the time. Errors are Pillow's own.
    """
    image = open_image(data)
    if image.format != "JPEG":
        image = decode_image(data)
        return (image.height, image.width), image
    size = measure_as_seen(image)
    image.draft("RGB", (1, 1))
    image.load()
    return size, image


def measure_as_seen(image: Picture) -> tuple[int, int]:
    """Return the height and width that an opened image, not yet decoded, has when it is turned upright."""
    width, height = image.size
    return (width, height) if read_orientation(image) >= 5 else (height, width)


def explain_failure(error: Exception) -> str:
    """Say in a few words why an image can't be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file (a broken link?)"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be recognised"
    return str(error).strip().rstrip(".").splitlines()[0] if str(error).strip() else type(error).__name__


def open_image(data: bytes) -> Picture:
    """Return the image that the bytes of a file hold, not yet decoded; errors are Pillow's own."""
    if not data:
        raise ValueError("the file is empty (0 bytes)")
    if data.startswith(b"version https://git-lfs"):
        raise ValueError("git-lfs's pointer to an image, not the image: run `git lfs pull` where it was cloned")
    if data.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise ValueError("a web page, not an image: its download led to a page")
    return Image.open(BytesIO(data), formats=_known_formats())


@cache
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def read_orientation(image: Picture) -> int:
    """Return how a camera noted that it was held, 1 (upright) to 8."""
    if not image.info and image.format == "PNG":
        # Most small images have no metadata at all, and looking takes a tenth of their time.
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Broken metadata doesn't make an image unreadable.
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _as_rgb(image: Picture) -> Picture:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_scale_to_bytes(np.asarray(image).astype(np.float64))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_to_bytes(values: np.ndarray) -> np.ndarray:
    """Bring values to 0..255: ranges of 0..1, 0..255 and 0..65535 are known, others are stretched."""
    values = np.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        values, high = (values - low) / max(high - low, 1e-12), 1.0
    full = 1.0 if high <= 1.0 else 255.0 if high <= 255.0 else 65535.0
    return np.round(values * (255.0 / full)).astype(np.uint8)
