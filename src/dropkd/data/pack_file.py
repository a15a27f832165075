"""Small images of one size, decoded, in a file that later runs find by what is in it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.data.decoders import decoder_versions
from dropkd.data.pixel_folders import SHARE_OF_DISK, make_room, pixels_root
from dropkd.errors import DropKDError
from dropkd.files import replacing

__all__ = ["PackFile"]

# What is kept has another meaning when this grows.
_FORMAT = 1
_PIXELS, _ABOUT = "images.u8", "about.json"


class PackFile:
    """The place of the decoded images of these contents, in this order; nothing need be there.

    Args:
        digests: the SHA-256 of the content of each.
        size: the height and width of all.
    """

    def __init__(self, digests: Sequence[bytes], size: tuple[int, int]) -> None:
        whole = hashlib.sha256(json.dumps(["pack", _FORMAT, *decoder_versions()]).encode())
        whole.update(b"".join(digests))
        self.folder = pixels_root() / whole.hexdigest()[:32]
        self.shape = (len(digests), *size, 3)

    def read(self) -> NDArray[np.uint8] | None:
        """Return the pixels (N, H, W, 3), mapped from the disk, or None where they are not there as written."""
        about, count = self.folder / _ABOUT, int(np.prod(self.shape))
        try:
            checksum = json.loads(about.read_text(encoding="utf-8"))["crc32"]
            with (self.folder / _PIXELS).open("rb") as file:
                # Pages are the process's own as soon as somebody writes to them, so nothing here reaches the file.
                pixels = np.frombuffer(mmap.mmap(file.fileno(), count, access=mmap.ACCESS_COPY), np.uint8)
        # Whatever is wrong with it, it can be made again.
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if zlib.crc32(pixels.data) != checksum:
            return None
        with suppress(OSError):
            os.utime(about)
        return pixels.reshape(self.shape)

    def write(self, pixels: NDArray[np.uint8], data: Path, limit: int) -> None:
        """Keep the pixels, where disk and limit allow that.

        Args:
            pixels: (N, H, W, 3).
            data: what they are of, for whoever looks into the folder.
            limit: how many bytes the decoded images of all data sets may take.
        """
        with suppress(OSError, DropKDError):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if pixels.nbytes > min(limit, SHARE_OF_DISK * shutil.disk_usage(self.folder.parent).free):
                return
            make_room(self.folder, limit - pixels.nbytes)
            self.folder.mkdir(exist_ok=True)
            about = {"data": str(data), "images": len(pixels), "crc32": zlib.crc32(pixels.data)}
            with replacing(self.folder / _PIXELS) as partial:
                pixels.tofile(partial)
            with replacing(self.folder / _ABOUT) as partial:
                partial.write_text(json.dumps(about) + "\n", encoding="utf-8")
