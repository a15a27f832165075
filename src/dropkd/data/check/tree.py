"""Walks through a data folder without demanding that it is in order, and tells what lies where it should not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dropkd.data.images import IMAGE_SUFFIXES
from dropkd.data.listing import SPLIT_NAMES, WHOLE, Listing

__all__ = ["Tree", "walk_tree"]

# Folders below this are not looked into.
_DEEPEST = 12
_NOT_DATA = "__MACOSX"


@dataclass
class Tree:
    """What a folder of images holds.

    Args:
        root: the folder.
        images: (path, split, class) of the images that lie in a class's folder.
        loose: images outside the class folders.
        deep: images in folders within a class's folder.
        others: files whose names are not those of images.
        empty: (split, class) of class folders without images.
        denied: what can't be entered, and why.
        loops: links that lead back to a folder that they lie in.
    """

    root: Path
    images: list[tuple[Path, str, str]] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    deep: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    empty: list[tuple[str, str]] = field(default_factory=list)
    denied: list[tuple[Path, str]] = field(default_factory=list)
    loops: list[Path] = field(default_factory=list)

    def as_listing(self) -> Listing:
        """Return the images of the classes as a listing; where there are none, all others, of the class -1."""
        classes = tuple(sorted({name for _, _, name in self.images}))
        numbers = {name: k for k, name in enumerate(classes)}
        rows = [(path, split, numbers[name]) for path, split, name in self.images]
        rows = rows or [(path, WHOLE, -1) for path in (*self.loose, *self.deep)]
        return Listing.of_files(self.root, classes, rows, in_folders=True)


def walk_tree(root: Path) -> Tree:
    """Walk through a folder in the layouts ``SPLIT/CLASS/*`` and ``CLASS/*``; links are followed."""
    tree = Tree(root)
    top = list(_scan(root, tree))
    splits = _tell_splits([path for path, is_folder in top if is_folder], tree)
    for path, is_folder in top:
        if is_folder and splits:
            if path in splits:
                _walk_split(path, splits[path], tree)
        elif is_folder:
            _walk_class(path, WHOLE, tree)
        else:
            _sort_file(path, tree.loose, tree)
    return tree


def _tell_splits(folders: list[Path], tree: Tree) -> dict[Path, str]:
    """Return the folders that are splits; none where one of them is a class that is called like a split."""
    splits = {path: SPLIT_NAMES[name] for path in folders if (name := path.name.lower()) in SPLIT_NAMES}
    nested = any(is_folder for path in splits for _, is_folder in _scan(path, Tree(tree.root)))
    return splits if splits and (nested or len(splits) == len(folders)) else {}


def _walk_split(folder: Path, split: str, tree: Tree) -> None:
    for path, is_folder in _scan(folder, tree):
        if is_folder:
            _walk_class(path, split, tree)
        else:
            _sort_file(path, tree.loose, tree)


def _walk_class(folder: Path, split: str, tree: Tree) -> None:
    images: list[Path] = []
    before = len(tree.deep), len(tree.denied)
    for path, is_folder in _scan(folder, tree):
        if is_folder:
            _walk_deeper(path, tree, {_identify(folder)}, 0)
        else:
            _sort_file(path, images, tree)
    tree.images += [(path, split, folder.name) for path in images]
    if not images and before == (len(tree.deep), len(tree.denied)):
        tree.empty.append((split, folder.name))


def _walk_deeper(folder: Path, tree: Tree, above: set[tuple[int, int]], depth: int) -> None:
    me = _identify(folder)
    if me in above or _is_above(folder):
        tree.loops.append(folder)
        return
    if depth > _DEEPEST:
        return
    for path, is_folder in _scan(folder, tree):
        if is_folder:
            _walk_deeper(path, tree, {*above, me}, depth + 1)
        else:
            _sort_file(path, tree.deep, tree)


def _sort_file(path: Path, images: list[Path], tree: Tree) -> None:
    (images if path.suffix.lower() in IMAGE_SUFFIXES else tree.others).append(path)


def _scan(folder: Path, tree: Tree) -> Iterator[tuple[Path, bool]]:
    """Yield each entry that is not hidden, and whether it is a folder; note down what can't be entered."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        tree.denied.append((folder, error.strerror or type(error).__name__))
        return
    for entry in entries:
        path = folder / entry.name
        try:
            is_folder = entry.is_dir()
        except OSError:
            tree.loops.append(path)
            continue
        if entry.name != _NOT_DATA:
            yield path, is_folder


def _identify(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_above(folder: Path) -> bool:
    """Tell whether a link leads to a folder that it lies in."""
    return folder.is_symlink() and folder.absolute().is_relative_to(folder.resolve())
