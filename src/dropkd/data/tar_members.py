"""What lies where in an uncompressed tar file, whole or damaged."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Member", "TarError", "walk_members"]

_BLOCK = 512
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# How tarfile says that there is less than a header promised, where several headers belong together.
_SHORT = ("empty header", "truncated header", "unexpected end of data")


@dataclass(frozen=True)
class Member:
    """A file in a tar file.

    Args:
        name: its path there; it is never used as one.
        offset: where its content begins.
        size: bytes of content.
    """

    name: str
    offset: int
    size: int


class TarError(Exception):
    """A tar file ends before it should, or is none; the text says how."""


def walk_members(path: Path) -> Iterator[Member]:
    """Yield the files of a tar file in their order; links, devices and folders are passed over.

    Raises:
        TarError: after the last whole member, where the file is damaged or none.
        OSError: it can't be read.
    """
    whole = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_BLOCK)
        packed = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
        if packed is not None:
            raise TarError(
                f"is compressed with {packed}, so that no image in it can be read without all before it. Unpack it to "
                "a plain .tar (images are compressed in themselves)"
            )
        if not start:
            raise TarError("is empty (0 bytes)")
        file.seek(0)
        try:
            archive = tarfile.TarFile(fileobj=file)
        except tarfile.TarError as error:
            raise TarError(f"is no tar file ({error})") from error
        yield from _walk(archive, whole)
        file.seek(archive.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            cut = archive.offset + _BLOCK > whole
            what = f"is truncated after {whole:,} bytes" if cut else f"is damaged at byte {archive.offset:,}"
            raise TarError(f"{what} (no end mark)")


def _walk(archive: tarfile.TarFile, whole: int) -> Iterator[Member]:
    while True:
        try:
            found = archive.next()
        # A header that makes no sense shows in many ways.
        except Exception as error:
            cut = archive.offset + _BLOCK > whole or str(error) in _SHORT
            what = f"is truncated after {whole:,} bytes" if cut else f"can't be read beyond byte {archive.offset:,}"
            raise TarError(f"{what} ({error})") from error
        # Else every header would be kept.
        archive.members = []  # type: ignore[attr-defined]
        if found is None:
            return
        if found.isreg() and not found.issparse():
            if found.size < 0 or found.offset_data + found.size > whole:
                raise TarError(f"is truncated after {whole:,} bytes, in the middle of {found.name!r}")
            yield Member(found.name, found.offset_data, found.size)
