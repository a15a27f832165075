"""What is wrong with a file that should hold weights, told from its first bytes: half a download, a page, a pointer."""

from __future__ import annotations

import gzip
import html
import json
import re
import tarfile
import zipfile
from difflib import get_close_matches
from pathlib import Path

__all__ = ["describe_absence", "describe_damage", "is_safetensors"]

# What programs put behind the name of a file that they are still fetching.
_UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_HEAD = 4096
# Of the files in an archive.
_LISTED = 3
_AGAIN = "Get it again, and compare its size and SHA-256 with those of its source."


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as one of safetensors does: the length of a header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def describe_absence(path: Path) -> str:
    """Return why there is no such file, as sentences."""
    if path.is_dir():
        held = sorted(file.name for file in path.iterdir() if file.suffix in _WEIGHTS)
        inside = f" It holds {_name_some(held)}: give that." if held else ""
        return f"{str(path)!r} is a folder, and a file of weights is wanted.{inside}"
    text = f"There is no file of weights {str(path)!r}."
    if not path.parent.is_dir():
        return f"{text} There is no folder {str(path.parent)!r} either."
    names = [file.name for file in path.parent.iterdir()]
    if halves := [name for name in names if name.startswith(path.name) and name.endswith(_UNFINISHED)]:
        return f"{text} But {halves[0]!r} is there: its download did not finish."
    near = get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"{text} Did you mean {str(path.with_name(near[0]))!r}?" if near else text


def describe_damage(path: Path) -> str | None:
    """Return what a file is in place of weights, as sentences about ``it``; None where nothing tells.

    Nothing of the file is executed. What is told: an empty file, half a download, git-lfs's pointer, a web page, other
    text, a packed file, and one of another kind than its name says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return f"It is empty: nothing was fetched. {_AGAIN}"
    if path.name.endswith(_UNFINISHED):
        return f"Its name is that of a download that did not finish, after {size:,} bytes. Fetch it again."
    return _describe_text(head) or _describe_packed(path, head) or _describe_cut(path, head, size)


def _describe_text(head: bytes) -> str | None:
    """Return what a text is that stands in place of weights."""
    if head.startswith(b"version https://git-lfs"):
        wanted = re.search(rb"size (\d+)", head)
        size = f" of {int(wanted.group(1)):,} bytes" if wanted else ""
        return (
            f"It is git-lfs's pointer to a file{size}, not that file. Run `git lfs pull` where it was cloned, or fetch "
            "the file itself."
        )
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        title = re.search(r"<title>(.*?)</title>", head.decode("utf-8", "replace"), re.DOTALL | re.IGNORECASE)
        name = f" ({html.unescape(title.group(1)).strip()!r})" if title else ""
        return (
            f"It is a web page{name}, not weights: its address leads to a page, perhaps one to sign in or to agree on. "
            "Open the address in a browser and fetch the file itself."
        )
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not all(sign.isprintable() or sign.isspace() for sign in text):
        return None
    return f"It is text, not weights; it begins {text[:60]!r}."


def _describe_packed(path: Path, head: bytes) -> str | None:
    """Return what an archive is that has weights in it, or something else."""
    if head.startswith(b"\x1f\x8b"):
        return f"It is packed: unpack it by `gzip -d` first.{_look_into_gzip(path)}"
    if head[257:262] == b"ustar":
        with tarfile.open(path) as archive:
            names = [member.name for member in archive if member.isfile()]
        return f"It is an archive of {_name_some(names)}: unpack it first, and give a file of weights out of it."
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            return None
        if all(name.endswith(".npy") for name in names):
            return "It holds arrays of numpy. Save them by torch.save(), as tensors by name."
        return f"It is an archive of {_name_some(names)}: unpack it first, and give a file of weights out of it."
    return None


def _look_into_gzip(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            inside = file.read(262)
    except (OSError, EOFError):
        return ""
    return " There is a tar archive in it, which `tar -xf` unpacks." if inside[257:262] == b"ustar" else ""


def _describe_cut(path: Path, head: bytes, size: int) -> str | None:
    """Return how much of a file is there that ends too soon, or that it is of another kind than its name says."""
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            return f"It ends too soon, after {size:,} bytes: its download or copy did not finish. {_AGAIN}"
        return "It is a file of torch: rename it to end in .pth." if path.suffix == ".safetensors" else None
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{":
        whole = _measure_safetensors(path, length)
        if size < 8 + length or (whole is not None and size < whole):
            of = f" of {whole:,}" if whole is not None else ""
            return f"It ends too soon, after {size:,}{of} bytes: its download or copy did not finish. {_AGAIN}"
    elif size < 9 and path.suffix == ".safetensors":
        return f"It ends too soon, after {size:,} bytes: its download or copy did not finish. {_AGAIN}"
    return None


def _measure_safetensors(path: Path, length: int) -> int | None:
    """Return how many bytes the header of safetensors speaks of, or None where it isn't whole."""
    with path.open("rb") as file:
        header = file.read(8 + length)[8:]
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return 8 + length + max(ends, default=0)


def _name_some(names: list[str]) -> str:
    weights = [name for name in names if name.endswith(_WEIGHTS)] or names
    more = f" and {len(weights) - _LISTED} more" if len(weights) > _LISTED else ""
    return ", ".join(repr(name) for name in weights[:_LISTED]) + more if weights else "nothing"
