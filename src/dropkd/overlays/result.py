"""What was found, and the folder that it is kept in."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dropkd.errors import RunError
from dropkd.files import explained, writable_folder, write_bytes, write_text
from dropkd.overlays.agreement import Agreement
from dropkd.overlays.faithfulness import Faithfulness
from dropkd.overlays.painting import encode_picture, paint_legend

__all__ = ["LEGEND", "RECORD", "ExplainedGroup", "ExplainedImage", "Explanation", "Look", "check_replaceable"]

# The file that says what is in the folder.
RECORD = "overlays.json"
# The colours of the maps, from the least to the most.
LEGEND = "legend.jpg"


@dataclass(frozen=True)
class Look:
    """Where one network looks.

    Args:
        who: ``student`` or ``teacher``.
        answer: the class, or the labels, that it answers with.
        probability: of that class; None for several labels.
        right: whether the answer is right; None where the truth is not known.
        asked_probability: of the class that it is asked about.
        values: its map, row by row, 1 at the highest; None where nothing speaks for the class.
        where: the same in words.
        picture: JPEG of the image under the map's colours; None where there is no map.
    """

    who: str
    answer: str
    probability: float | None
    right: bool | None
    asked_probability: float
    values: tuple[tuple[float, ...], ...] | None
    where: str
    picture: bytes | None


@dataclass(frozen=True)
class ExplainedImage:
    """An image with the maps of it.

    Args:
        path: as the data names it.
        true: its class or its labels; empty where they are not known.
        asked: the class that the networks are asked about.
        picture: the image itself, JPEG.
        looks: the teacher's and the student's.
        rank_correlation: of the two maps; None where there are not two.
        overlap: of the top fifth of the two.
    """

    path: str
    true: str
    asked: str
    picture: bytes
    looks: tuple[Look, ...]
    rank_correlation: float | None = None
    overlap: float | None = None


@dataclass(frozen=True)
class ExplainedGroup:
    """Images of one kind; see :class:`~dropkd.overlays.choosing.Chosen`."""

    title: str
    text: str
    total: int
    images: tuple[ExplainedImage, ...]


@dataclass(frozen=True)
class Explanation:
    """Where student and teacher look.

    Args:
        way: how it was asked, see :data:`~dropkd.overlays.viewing.WAYS`.
        asked: ``true``, ``answer`` (the student's) or the name of a class.
        split: which images; ``files`` for files of the user's own.
        multi_label: whether an image may have several labels, or none.
        networks: name, and where its map is read, of the student and of the teacher if there is one.
        groups: the images.
        faithfulness: how true the maps are to each network, over images drawn at random.
        agreement: of the two networks, over the same images; None without a teacher.
        notes: what was left out, and why.
    """

    way: str
    asked: str
    split: str
    multi_label: bool
    networks: dict[str, dict[str, str]]
    groups: tuple[ExplainedGroup, ...]
    faithfulness: dict[str, Faithfulness]
    agreement: Agreement | None
    notes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write a folder with the pictures and ``overlays.json``; one that was written before is replaced.

        Raises:
            RunError: the folder holds something else, or can't be written.
        """
        check_replaceable(folder)
        writable_folder(folder.parent)
        with explained(folder):
            draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
            try:
                # mkdtemp makes folders for the owner alone.
                draft.chmod(folder.parent.stat().st_mode & 0o777)
                _write(self, draft)
                if folder.exists():
                    shutil.rmtree(folder)
                draft.rename(folder)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise


def check_replaceable(folder: Path) -> None:
    """Make sure that a folder is not there, empty, or one that was written before.

    Raises:
        RunError: it is something else.
    """
    if not folder.exists() or (folder / RECORD).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise RunError(
            f"{str(folder)!r} is not a folder of overlays that could be replaced. Choose another place with --output."
        )


def _write(found: Explanation, folder: Path) -> None:
    record: dict[str, Any] = {"schema": 1, **asdict(found)}
    write_bytes(folder / LEGEND, encode_picture(paint_legend()))
    for number, image in enumerate(_each_image(record), start=1):
        image["picture"] = _write_picture(folder, f"{number:03d}-image.jpg", image["picture"])
        for look in image["looks"]:
            look["picture"] = _write_picture(folder, f"{number:03d}-{look['who']}.jpg", look["picture"])
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _each_image(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (image for group in record["groups"] for image in group["images"])


def _write_picture(folder: Path, name: str, content: bytes | None) -> str | None:
    if content is None:
        return None
    write_bytes(folder / name, content)
    return name
