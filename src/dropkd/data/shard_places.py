"""Finds the shards that a name stands for: a pattern, a folder, a file, or URLs; and which split each is of."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from dropkd.data.advice import advise
from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.data.listing import SPLITS, WHOLE
from dropkd.data.shard_names import expand_braces, split_of
from dropkd.data.source import Source
from dropkd.data.wording import count_of, enumerate_some
from dropkd.errors import ConfigError, DataError

__all__ = ["ShardPlaces", "find_shards", "is_shards"]

_PLAIN = ".tar"
_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
# Where shards lie when a data set keeps each split's in a folder.
_FOLDERS = ("train", "val", "valid", "validation", "test")
# How deep below a data folder its images lie: train/CLASS/*.
_IMAGE_DEPTH = 2


@dataclass(frozen=True)
class ShardPlaces:
    """The shards of a data set.

    Args:
        base: the folder, or the part of the URL, that all names start from.
        remote: whether that is a URL.
        splits: the names of the shards of each split.
        notes: what the user should know.
    """

    base: str
    remote: bool
    splits: Mapping[str, list[str]]
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """What the names of images start from."""
        return Path(f"wds:{self.base}") if self.remote else Path(self.base)

    def full(self, name: str) -> str:
        """Return the path or the URL of a shard."""
        return f"{self.base.rstrip('/')}/{name}" if self.remote else str(Path(self.base) / name)


def is_shards(path: Path) -> bool:
    """Whether a path without a scheme stands for shards: by its name, or because a folder holds little else."""
    if path.is_dir():
        return _holds_shards(path)
    name = path.name.lower()
    return name.endswith((_PLAIN, *_PACKED)) and (path.is_file() or any(c in str(path) for c in "{*["))


def _holds_shards(folder: Path) -> bool:
    tars, folders = _scan(folder)
    if tars:
        # An archive that lies beside its unpacked folders is no shard; folders of runs, say, may lie beside shards.
        return not any(_holds_images(folder / name, _IMAGE_DEPTH) for name in folders)
    return bool(folders) and all(name.lower() in _FOLDERS and _scan(folder / name)[0] for name in folders)


def _holds_images(folder: Path, depth: int) -> bool:
    with os.scandir(folder) as entries:
        inside = list(entries)
    if any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in inside):
        return True
    return depth > 1 and any(_holds_images(Path(e.path), depth - 1) for e in inside if e.is_dir(follow_symlinks=False))


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's tar files and of its folders, sorted."""
    tars, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith((_PLAIN, *_PACKED)):
                tars.append(entry.name)
    return sorted(tars), sorted(folders)


def find_shards(source: Source) -> ShardPlaces:
    """Return the shards of a data set by split; none is opened.

    The options ``train``, ``val`` and ``test`` name the shards of a split, from the data set's folder; else names tell,
    or there are no splits.

    Raises:
        DataError: there are no shards, or some of those that were named are missing, or they are compressed.
        ConfigError: the pattern is none.
    """
    place = source.place
    if place.startswith("pipe:"):
        raise ConfigError(f"{source.text!r}: commands are not run to get data; name the URL itself.")
    remote = "://" in place
    given = {name: source.options[name] for name in SPLITS if name in source.options}
    if remote:
        base, found = _find_remote(source, place, bool(given))
    else:
        base, found = _find_local(source, Path(place).expanduser(), bool(given))
    splits: dict[str, list[str]] = {}
    for split, pattern in given.items():
        splits[split] = _find_named(source, base, remote, pattern)
    taken = {name for names in splits.values() for name in names}
    for name in found:
        split = split_of(name)
        if name not in taken and split not in given:
            splits.setdefault(split, []).append(name)
    notes = []
    if WHOLE in splits and len(splits) > 1:
        rest = splits.pop(WHOLE)
        notes = [f"ignored {count_of(len(rest), 'shard')} whose names tell no split: {enumerate_some(rest, 3)}"]
    if not splits:
        raise DataError(f"{source.text!r}: there are no shards, files that end in .tar.")
    _check_names(source, splits)
    return ShardPlaces(base, remote, {name: splits[name] for name in (*SPLITS, WHOLE) if name in splits}, tuple(notes))


def _check_names(source: Source, splits: Mapping[str, list[str]]) -> None:
    names = [name for own in splits.values() for name in own]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"{source.text!r} names the shard {twice[0]!r} twice.")
    packed = [name for name in names if name.lower().endswith(_PACKED)]
    if packed:
        raise DataError(
            f"{source.text!r}: {packed[0]!r} is a compressed archive, in which no image can be read without all before "
            "it. If it is a shard, unpack it to a plain .tar (gunzip, unzstd; images are compressed in themselves). If "
            f"it is an archive of a folder of images, unpack the folder and name that.{advise(source.path)}"
        )


def _find_remote(source: Source, place: str, has_splits: bool) -> tuple[str, list[str]]:
    if any(c in place for c in "*["):
        raise ConfigError(f"{source.text!r}: URLs can't be searched; name the shards by braces, {{000..012}}.")
    names = expand_braces(place)
    if has_splits and not place.lower().endswith((_PLAIN, *_PACKED)):
        return place.rstrip("/"), []
    if not all(name.lower().endswith((_PLAIN, *_PACKED)) for name in names):
        raise ConfigError(
            f"{source.text!r}: the name of a shard ends in .tar. A folder behind a URL can't be listed; name its "
            f"shards: wds:{place.rstrip('/')}/train-{{000..012}}.tar, or ?train=train-{{000..012}}.tar&val=..."
        )
    scheme, _, rest = names[0].partition("://")
    host = rest.partition("/")[0]
    if len({name.partition("://")[2].partition("/")[0] for name in names}) > 1:
        raise ConfigError(f"{source.text!r}: all shards must come from one server.")
    folders = [name.rpartition("/")[0].split("/") for name in names]
    levels = zip(*folders, strict=False)
    common = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    base = "/".join(common) if len(common) > 2 else f"{scheme}://{host}"
    return base, [name[len(base) + 1 :] for name in names]


def _find_local(source: Source, path: Path, has_splits: bool) -> tuple[str, list[str]]:
    if path.is_dir():
        tars, folders = _scan(path)
        names = tars + [f"{own}/{name}" for own in folders if own.lower() in _FOLDERS for name in _scan(path / own)[0]]
        if not names and not has_splits:
            raise DataError(f"{source.text!r}: there are no shards, files that end in .tar, in {str(path)!r}.")
        return str(path), names
    files = _match(source, path)
    base = os.path.commonpath([file.parent for file in files])
    return base, [os.path.relpath(file, base).replace(os.sep, "/") for file in files]


def _find_named(source: Source, base: str, remote: bool, pattern: str) -> list[str]:
    """Return the shards that an option names, from the data set's folder."""
    if remote:
        return expand_braces(pattern)
    files = _match(source, Path(base) / pattern)
    outside = [file for file in files if ".." in Path(os.path.relpath(file, base)).parts]
    if outside:
        raise ConfigError(f"{source.text!r}: {pattern!r} leads out of {base!r}.")
    return [os.path.relpath(file, base).replace(os.sep, "/") for file in files]


def _match(source: Source, path: Path) -> list[Path]:
    """Return the files that a pattern stands for: those of braces must all be there."""
    if path.is_file():
        return [path]
    files: list[Path] = []
    missing: list[str] = []
    for name in expand_braces(str(path)):
        if glob.has_magic(name) and not Path(name).exists():
            # Path.glob takes no absolute patterns.
            found = sorted(glob.glob(name))  # noqa: PTH207
            files += [Path(own) for own in found]
            missing += [] if found else [name]
        else:
            there = Path(name).is_file()
            files += [Path(name)] if there else []
            missing += [] if there else [name]
    if missing:
        listed = enumerate_some([repr(name) for name in missing], 5)
        raise DataError(
            f"{source.text!r}: {len(missing)} of {len(files) + len(missing)} shards are not there: {listed}."
        )
    return files
