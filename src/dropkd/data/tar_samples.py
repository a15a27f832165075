"""Samples of a WebDataset shard: the files of a tar file whose names are the same up to the first dot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.data.tar_members import Member, TarError, walk_members
from dropkd.data.wording import enumerate_some

__all__ = ["TarIndex", "index_tar"]

# The parts of a member's name: folders and all before the first dot, and the rest.
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
# Members about the shard, not about a sample.
_ABOUT = re.compile(r"(.*/)?__[^/]*__(/|\.|$)|__MACOSX/")
_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
# Where a sample's class is looked for, in this order; most usual first.
_LABELS = ("cls", "cls.txt", "class", "label", "label.txt", "json", "txt")
_FIELDS = ("label", "cls", "class", "class_id", "label_id", "target", "class_name", "label_name", "category")
# No image that a network is trained on, and no label, is as large: more would be read by mistake or malice.
_LARGEST_IMAGE, _LARGEST_LABEL = 2**28, 2**20


@dataclass
class TarIndex:
    """The labelled images of a shard, one row each, in its order.

    Args:
        names: their names in the shard.
        offset: (N,) int64, where their bytes begin.
        size: (N,) int64, how many there are.
        labels: their classes as text.
        source: where the classes come from, such as ``cls`` or ``json:label``; empty where there are none.
        mistakes: what is wrong with the shard, each a sentence without the shard's name.
        others: files that belong to no sample.
    """

    names: list[str] = field(default_factory=list)
    offset: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    size: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: list[str] = field(default_factory=list)
    source: str = ""
    mistakes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


_Sample = dict[str, Member]


def index_tar(path: Path, *, label: str | None = None, image: str | None = None) -> TarIndex:
    """Return where the images of a shard lie, with their classes; only the classes are read.

    Args:
        path: an uncompressed tar file.
        label: where the classes are: the ending of a member's name such as ``cls``, or ``json:FIELD``; None looks, and
            with an empty text no classes are read.
        image: the ending of the images' names, where a sample has several; None looks.

    Raises:
        OSError: the file can't be read.
    """
    index = TarIndex()
    samples = _group(path, index)
    source = _find_source(path, samples) if label is None else label
    index.source = source or ""
    rows: list[tuple[Member, str]] = []
    with path.open("rb") as file:
        for key, members in samples.items():
            try:
                member = _find_image(members, image)
                # Notes beside the samples, such as a README, are no sample that lacks its image.
                if member is None and not _has_label(members, source):
                    index.others += [own.name for own in members.values()]
                    continue
                rows.append((_require_image(member), _read_label(file, members, source)))
            except ValueError as error:
                index.mistakes.append(f"sample {key!r} {error}")
    index.names = [member.name for member, _ in rows]
    index.offset = np.array([member.offset for member, _ in rows], np.int64)
    index.size = np.array([member.size for member, _ in rows], np.int64)
    index.labels = [text for _, text in rows]
    if not rows and not index.mistakes:
        listed = f": {enumerate_some([repr(name) for name in index.others], 3)}" if index.others else ""
        index.mistakes.append(f"holds no images{listed}")
    return index


def _group(path: Path, index: TarIndex) -> dict[str, _Sample]:
    """Return the members of each sample by the endings of their names; what does not fit becomes a mistake."""
    samples: dict[str, _Sample] = {}
    doubled: dict[str, str] = {}
    last = None
    try:
        for member in walk_members(path):
            name = member.name.removeprefix("./")
            if _ABOUT.match(name):
                continue
            parts = _NAME.fullmatch(name)
            if parts is None:
                index.others.append(name)
                continue
            key, ending = parts.group(1), parts.group(2).lower()
            if name.startswith("/") or ".." in name.split("/") or "\0" in name or "\\" in name:
                index.mistakes.append(f"has a file whose name leads out of it, {name!r}")
                continue
            sample = samples.setdefault(key, {})
            if ending in sample:
                doubled[key] = ending
            sample[ending] = Member(name, member.offset, member.size)
            last = key
    except TarError as damage:
        if last is not None:
            samples, last = _drop_torn(samples, last)
        after = f"; its last whole sample is {last!r}, number {len(samples):,}" if last is not None else ""
        index.mistakes.append(f"{damage}{after}")
    for key, ending in doubled.items():
        # Which of them is meant can't be told.
        del samples[key]
        index.mistakes.append(f"sample {key!r} has the file .{ending} twice")
    return samples


def _drop_torn(samples: dict[str, _Sample], last: str) -> tuple[dict[str, _Sample], str | None]:
    """Leave out a last sample that lacks what the one before it has: the tear went through it."""
    keys = list(samples)
    if len(keys) > 1 and keys[-1] == last and not samples[keys[-2]].keys() <= samples[last].keys():
        del samples[last]
        return samples, keys[-2]
    if len(keys) == 1 and len(samples[last]) == 1:
        return {}, None
    return samples, last


def _find_source(path: Path, samples: Mapping[str, _Sample]) -> str | None:
    """Return where the classes are, by the first sample that has an image and something that may be a class."""
    for members in samples.values():
        if _find_image(members, None, strict=False) is None:
            continue
        for ending in _LABELS:
            if ending not in members:
                continue
            if ending != "json":
                return ending
            with path.open("rb") as file:
                content = _parse_json(file, members[ending])
            found = next((name for name in _FIELDS if isinstance(content, dict) and name in content), None)
            if found is not None:
                return f"json:{found}"
    return None


def _has_label(members: _Sample, source: str | None) -> bool:
    return source is not None and source.partition(":")[0] in members


def _find_image(members: _Sample, image: str | None, *, strict: bool = True) -> Member | None:
    if image is not None:
        return members.get(image.lower())
    found = [ending for ending in members if ending in _IMAGES]
    found = found or [ending for ending in members if ending.rpartition(".")[2] in _IMAGES]
    if len(found) > 1 and strict:
        raise ValueError(f"has several images ({', '.join(found)}); choose one: ?image={found[0]}")
    return members[found[0]] if found else None


def _require_image(member: Member | None) -> Member:
    if member is None:
        raise ValueError("has no image")
    if member.size > _LARGEST_IMAGE:
        raise ValueError(f"has an image of {member.size:,} bytes, more than {_LARGEST_IMAGE:,}")
    return member


def _read_label(file: BinaryIO, members: _Sample, source: str | None) -> str:
    if source is None:
        raise ValueError(f"has no class, only {', '.join('.' + ending for ending in members)}")
    if not source:
        return ""
    ending, _, name = source.partition(":")
    if ending not in members:
        raise ValueError(f"has no .{ending}")
    value = _look_up(_parse_json(file, members[ending]), name) if name else _read_text(file, members[ending])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise ValueError(f"has the class {value!r} in .{source}, which is neither a text nor a whole number")
    text = str(value).strip()
    if not text or "\n" in text:
        raise ValueError(f"has no class in .{source} but {text[:40]!r}")
    return text


def _look_up(content: Any, name: str) -> Any:
    """Return a field of JSON; dots lead into records."""
    if isinstance(content, dict) and name in content:
        return content[name]
    for part in name.split("."):
        if not isinstance(content, dict) or part not in content:
            raise ValueError(f"has no field {name!r} in .json")
        content = content[part]
    return content


def _parse_json(file: BinaryIO, member: Member) -> Any:
    try:
        return json.loads(_read_text(file, member))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"has a .json that can't be read ({error})") from error


def _read_text(file: BinaryIO, member: Member) -> str:
    if member.size > _LARGEST_LABEL:
        raise ValueError(f"has a class of {member.size:,} bytes in {member.name!r}")
    file.seek(member.offset)
    try:
        return file.read(member.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"has a class in {member.name!r} that is no text in UTF-8") from error
