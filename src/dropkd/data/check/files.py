"""Findings about files: which can't be read, which are not what their names say, which training would never see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from dropkd.data.check.findings import Finding, Item
from dropkd.data.check.gathering import Gathered
from dropkd.data.check.looks import Looks
from dropkd.data.check.subject import ImageRef, Subject
from dropkd.data.check.tree import Tree
from dropkd.data.images import open_image
from dropkd.data.listing import WHOLE
from dropkd.data.wording import count_of

__all__ = ["find_bad_files", "find_left_out"]

# Pictures that are no images here: cameras' raw files, drawings, and formats that Pillow needs a plug-in for.
_FOREIGN = frozenset(
    f".{kind}"
    for kind in (
        *("heic", "heif", "jxl", "svg", "psd", "raw", "cr2", "cr3", "nef", "arw", "dng", "orf", "exr", "hdr", "eps"),
        *("npy", "dcm", "pdf"),
    )
)
# JPEG with more than one picture, as phones write it, is called .jpg by everyone; DIB is BMP without its first bytes.
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
# What is enough of a file to tell what it is.
_BEGINNING = 4096


def find_bad_files(gathered: Gathered, subject: Subject, looks: Looks) -> Iterator[Finding]:
    """Yield what is wrong with the listed files themselves."""
    failures = [Item(why, (subject.refer(i),)) for i, why in sorted(looks.failures.items())]
    failures += [Item(text) for text in gathered.listing.mistakes]
    if failures:
        yield Finding(
            "unreadable", "error", f"{count_of(len(failures), 'image')} can't be read",
            "Mend or remove them; --skip-unreadable trains without them.", tuple(failures),
        )  # fmt: skip
    misnamed = [
        Item(f"is {kind}", (subject.refer(i),))
        for i, kind in enumerate(looks.formats)
        if kind and _is_misnamed(gathered.listing.paths[i].suffix, kind)
    ]
    if misnamed:
        yield Finding(
            "wrong-suffix", "note", f"{count_of(len(misnamed), 'image')} of another format than the name says",
            "Training goes by the content; other programs may not.", tuple(misnamed),
        )  # fmt: skip


def find_left_out(tree: Tree) -> Iterator[Finding]:
    """Yield what lies in the folder but is not trained on."""
    yield from _tell(
        tree, tree.denied, "denied", "error", ("folder", "can't be entered"),
        "Training stops there. Change the permissions, or move it away.",
    )  # fmt: skip
    yield from _tell(
        tree, [(path, "") for path in tree.deep], "too-deep", "error", ("image", "below a class folder"),
        "Move them up into their class's folder.",
    )  # fmt: skip
    yield from _tell(
        tree, [(path, "") for path in tree.loose], "no-class", "warning", ("image", "outside the class folders"),
        "They are not trained on: they have no label.",
    )  # fmt: skip
    pictures, rest = _tell_pictures(tree.others)
    yield from _tell(
        tree, pictures, "left-out", "warning", ("picture", "left out for the name"),
        "Training takes files by their suffix. Rename or convert them.",
    )  # fmt: skip
    yield from _tell(tree, [(path, "") for path in rest], "ignored", "note", ("file", "ignored, being no image"), "")
    yield from _tell(
        tree, [(path, "") for path in tree.loops], "loop", "warning", ("link", "leading in a circle"), "Remove them."
    )


def _tell(
    tree: Tree, found: Sequence[tuple[Path, str]], kind: str, level: str, title: tuple[str, str], advice: str
) -> Iterator[Finding]:
    if found:
        items = tuple(
            Item(text, (ImageRef(path.relative_to(tree.root).as_posix(), WHOLE, ""),)) for path, text in found
        )
        yield Finding(kind, level, f"{count_of(len(found), title[0])} {title[1]}", advice, items)


def _tell_pictures(files: Sequence[Path]) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Tell files that are pictures by their content, or of a format that is not read here, from others."""
    pictures, rest = [], []
    for path in files:
        if path.suffix.lower() in _FOREIGN:
            pictures.append((path, f"{path.suffix} is not read here"))
        elif kind := _sniff(path):
            pictures.append((path, f"is {kind}"))
        else:
            rest.append(path)
    return pictures, rest


def _sniff(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return open_image(file.read(_BEGINNING)).format or ""
    except Exception:
        # Not an image, or not one that can be opened.
        return ""


def _is_misnamed(suffix: str, kind: str) -> bool:
    suffix = suffix.lower()
    expected = Image.registered_extensions().get(suffix)
    return expected is not None and _SAME_FORMAT.get(expected, expected) != _SAME_FORMAT.get(kind, kind)
