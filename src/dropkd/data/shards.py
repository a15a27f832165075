"""WebDataset shards as data sets: tar files of samples, on this machine or behind URLs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropkd.contracts import NO_LABEL
from dropkd.data.cache_place import cache_folder
from dropkd.data.listing import WHOLE, Listing, sort_labels
from dropkd.data.remote_shards import RemoteSet
from dropkd.data.shard_index import IndexedShard, IndexFile
from dropkd.data.shard_places import ShardPlaces, find_shards
from dropkd.data.shard_store import LocalShard, Shard, ShardStore
from dropkd.data.source import Source
from dropkd.data.tar_samples import index_tar
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import DataError, did_you_mean

__all__ = ["list_shards", "list_unlabelled_shards"]

_OPTIONS = ("train", "val", "test", "label", "image", "classes")
_REMOTE_OPTIONS = ("cache", "cache_gb")
# Files beside the shards that name their classes.
_CLASS_FILES = ("classes.txt", "labels.txt")

# How many images a message lists.
_LISTED = 10

_Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Images:
    """The images of all shards, in the order of the shards."""

    names: list[str]
    splits: list[str]
    labels: list[str]
    shard: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]


def list_shards(source: Source, progress: _Progress | None = None) -> Listing:
    """Return the images of WebDataset shards.

    Args:
        source: the data set.
        progress: called with the number of shards looked through and of all.

    Raises:
        DataError: there are no shards or they can't be had, or hold no images with classes.
        ConfigError: an option that is none, or is out of range.
    """
    return _list_places(source, find_shards(source), progress, labelled=True)


def list_unlabelled_shards(source: Source, progress: _Progress | None = None) -> Listing:
    """Return the images of WebDataset shards but for those of val and test; no class is read.

    Args:
        source: the data set.
        progress: called with the number of shards looked through and of all.

    Raises:
        DataError: there are no shards or they can't be had, or hold no images.
        ConfigError: an option that is none, or is out of range.
    """
    places = find_shards(source)
    kept = {name: own for name, own in places.splits.items() if name in ("train", WHOLE)}
    blind = replace(source, options={**source.options, "label": ""})
    return _list_places(blind, replace(places, splits=kept), progress, labelled=False)


def _list_places(source: Source, places: ShardPlaces, progress: _Progress | None, *, labelled: bool) -> Listing:
    source.check_options(*_OPTIONS, *(_REMOTE_OPTIONS if places.remote else ()))
    names = [name for own in places.splits.values() for name in own]
    splits = [split for split, own in places.splits.items() for _ in own]
    remote = RemoteSet.of(source, places) if places.remote else None
    indexed: list[IndexedShard] = []
    for name in names:
        full = places.full(name)
        indexed.append(remote.index(full) if remote is not None else _index_local(source, Path(full)))
        if progress is not None:
            progress(len(indexed), len(names))
    images = _join(names, splits, indexed)
    classes: tuple[str, ...] = ()
    notes, target = [*places.notes], np.full(len(images.names), NO_LABEL, np.int64)
    if labelled:
        notes.append(f"classes are those of .{_check_labels(source, names, indexed)}")
        classes, target = _number_classes(source, images, _read_classes(source, places, remote))
    mistakes = [f"{name} {text}" for name, own in zip(names, indexed, strict=True) for text in own.index.mistakes]
    if not images.names:
        kind = "images with classes" if labelled else "images"
        raise DataError(f"{source.text!r} holds no {kind}: {enumerate_some(mistakes, 3)}.")
    own_shards: Sequence[Shard] = [LocalShard(Path(places.full(name))) for name in names]
    nearness = None
    if remote is not None:
        own_shards = remote.shards([places.full(name) for name in names], indexed)
        nearness = remote.nearness(images.shard, [own.bytes for own in indexed])
    store = ShardStore(own_shards, images.shard, images.offset, images.size, nearness)
    # Made once: it is asked for once an image.
    root = places.root
    notes += _note_others(names, indexed)
    listing = Listing.of_stored(
        root, classes, [root / name for name in images.names], images.splits, target, store,
        notes=notes, mistakes=mistakes, readings=remote.readings(indexed) if remote is not None else None,
        by_class=nearness is None,
    )  # fmt: skip
    if not labelled:
        return listing
    try:
        return listing.leave_out_empty_classes().require_classes()
    except DataError as error:
        if mistakes:
            raise DataError(f"{error} What is wrong with the shards: {enumerate_some(mistakes, 3)}.") from error
        raise


def _index_local(source: Source, path: Path) -> IndexedShard:
    label, image = source.options.get("label"), source.options.get("image")
    try:
        about = path.stat()
        identity = ("file", str(path.absolute()), about.st_size, about.st_mtime_ns, label, image)
        kept = IndexFile(cache_folder() / "index", identity)
        indexed = kept.read()
        if indexed is None:
            indexed = IndexedShard(index_tar(path, label=label, image=image), None, about.st_size)
            kept.write(indexed)
    except OSError as error:
        raise DataError(f"can't read the shard {str(path)!r}: {error.strerror or error}.") from error
    return indexed


def _join(names: Sequence[str], splits: Sequence[str], indexed: Sequence[IndexedShard]) -> _Images:
    counts = [len(own.index.names) for own in indexed]
    return _Images(
        [f"{name}/{image}" for name, own in zip(names, indexed, strict=True) for image in own.index.names],
        [split for split, count in zip(splits, counts, strict=True) for _ in range(count)],
        [label for own in indexed for label in own.index.labels],
        np.repeat(np.arange(len(names)), counts),
        np.concatenate([own.index.offset for own in indexed]),
        np.concatenate([own.index.size for own in indexed]),
    )


def _check_labels(source: Source, names: Sequence[str], indexed: Sequence[IndexedShard]) -> str:
    """Make sure that all shards keep their classes in the same place, and return it."""
    found = {own.index.source: name for name, own in zip(names, indexed, strict=True) if own.index.source}
    if len(found) > 1:
        listed = ", ".join(f".{kind} in {name}" for kind, name in found.items())
        raise DataError(f"{source.text!r}: the classes are not in one place: {listed}. Choose one: ?label={min(found)}")
    if not found:
        first = next((text for own in indexed for text in own.index.mistakes), "no samples")
        raise DataError(
            f"{source.text!r}: no sample has a class that could be found ({names[0]} {first}). They are looked for in "
            "KEY.cls, KEY.json and KEY.txt beside KEY.jpg; another place is named by ?label=ENDING or "
            "?label=json:FIELD. If this is an archive of a folder of images, unpack it and name the folder."
        )
    return next(iter(found))


def _read_classes(source: Source, places: ShardPlaces, remote: RemoteSet | None) -> tuple[str, list[str]] | None:
    """Return the names of the classes, one a line, and where they stand."""
    named = source.options.get("classes")
    if named is not None and "://" not in named:
        beside = [] if places.remote else [places.root / named]
        files = [path for path in (Path(named).expanduser(), *beside) if path.is_file()]
        if not files:
            raise DataError(f"{source.text!r}: there is no file of classes {named!r}.")
        return str(files[0]), _split_lines(files[0].read_bytes(), str(files[0]))
    if remote is not None:
        urls = [named] if named is not None else [places.full(name) for name in _CLASS_FILES]
        for url in urls:
            content = remote.small_file(url, needed=named is not None)
            if content is not None:
                return url, _split_lines(content, url)
        return None
    found = next((path for name in _CLASS_FILES if (path := places.root / name).is_file()), None)
    return None if found is None else (str(found), _split_lines(found.read_bytes(), str(found)))


def _split_lines(content: bytes, place: str) -> list[str]:
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{place!r} is not text in UTF-8.") from error
    names = [line for line in lines if line]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        what = f"{twice[0]!r} is there twice" if twice else "there is none"
        raise DataError(f"{place!r} must name a class on each line; {what}.")
    return names


def _number_classes(
    source: Source, images: _Images, known: tuple[str, list[str]] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes, and each image's number."""
    found = set(images.labels)
    if known is None:
        classes = sort_labels(found)
        numbers = {name: k for k, name in enumerate(classes)}
        return classes, np.array([numbers[label] for label in images.labels], np.int64)
    place, names = known
    numbers = {name: k for k, name in enumerate(names)}
    what = f"one of the {count_of(len(names), 'name')} in {place!r}"
    if not found & set(names) and all(re.fullmatch(r"-?[0-9]+", label) for label in found):
        numbers = {label: int(label) for label in found if 0 <= int(label) < len(names)}
        what = f"one of 0 to {len(names) - 1}, for the {count_of(len(names), 'name')} in {place!r}"
    target = np.array([numbers.get(label, -1) for label in images.labels], np.int64)
    wrong = np.flatnonzero(target < 0).tolist()
    if wrong:
        lines = [
            f"\n  {images.names[i]}: the class must be {what}, got {images.labels[i]!r}"
            f"{did_you_mean(images.labels[i], names)}"
            for i in wrong[:_LISTED]
        ]
        lines += [f"\n  and {len(wrong) - _LISTED:,} more"] if len(wrong) > _LISTED else []
        have = "1 image has" if len(wrong) == 1 else f"{len(wrong):,} images have"
        raise DataError(f"{source.text!r}: {have} no class that is known:{''.join(lines)}")
    return tuple(names), target


def _note_others(names: Sequence[str], indexed: Sequence[IndexedShard]) -> list[str]:
    others = [f"{name}/{other}" for name, own in zip(names, indexed, strict=True) for other in own.index.others]
    return [f"ignored {count_of(len(others), 'file')} of no sample: {enumerate_some(others, 3)}"] if others else []
