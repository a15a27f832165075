from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dropkd.data import EvalLoader, Recipe, Split, TrainLoader, open_data
from dropkd.data.listing import Listing
from dropkd.data.opening import read_listing
from dropkd.data.reading import read_images
from dropkd.data.stores import FileStore, StoreRows, take_rows
from dropkd.errors import DataError

Tree = Callable[..., Path]


@dataclass
class Archive:
    """Images that lie in one place, some of them behind a server that may be down."""

    contents: list[bytes]
    down: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, index: int) -> bytes:
        if index in self.down:
            raise DataError("the server does not answer.")
        return self.contents[index]

    def measure(self, index: int) -> int:
        return len(self.contents[index])


@pytest.fixture
def files(whole: Path) -> Split:
    return replace(open_data(whole).train, pack=None)


@pytest.fixture
def stored(files: Split) -> Split:
    """The same images out of an archive that holds them the other way round."""
    archive = Archive([path.read_bytes() for path in reversed(files.paths)])
    return replace(files, store=StoreRows(archive, np.arange(len(files))[::-1]), digests=())


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_a_store_give_the_batches_that_files_give(files: Split, stored: Split, workers: int) -> None:
    for split in (files, stored):
        assert split.pack is None
    options = {"size": (8, 10), "batch_size": 3}
    expected = list(TrainLoader(files, recipe=Recipe("shift"), seed=1, **options).epoch(2))
    found = list(TrainLoader(stored, recipe=Recipe("shift"), seed=1, workers=workers, **options).epoch(2))
    assert all(a.images.equal(b.images) and a.index.equal(b.index) for a, b in zip(expected, found, strict=True))
    expected, found = list(EvalLoader(files, **options)), list(EvalLoader(stored, **options, workers=workers))
    assert all(a.images.equal(b.images) for a, b in zip(expected, found, strict=True))


def test_a_part_of_a_split_reads_its_own_images(stored: Split, files: Split) -> None:
    rows = np.array([5, 0, 3])
    part = stored.take(rows)
    assert [part.images.read(i) for i in range(3)] == [files.paths[i].read_bytes() for i in rows]
    again = part.take(np.array([2]))
    assert again.images.read(0) == files.paths[3].read_bytes()
    assert isinstance(again.store, StoreRows)
    assert isinstance(again.store.store, Archive)
    assert take_rows(None, rows) is None


def test_the_fingerprint_is_over_the_bytes_of_the_store(stored: Split, files: Split) -> None:
    assert stored.fingerprint() == files.fingerprint()
    assert replace(stored, store=Archive([b"other"] * len(files))).fingerprint() != files.fingerprint()


def test_stores_travel_to_workers(files: Split) -> None:
    store = pickle.loads(pickle.dumps(StoreRows(FileStore(files.paths), np.array([1]))))  # noqa: S301
    assert store.read(0) == files.paths[1].read_bytes()
    assert store.measure(0) == len(store.read(0))


def test_a_store_that_fails_is_no_image_that_can_not_be_read(files: Split) -> None:
    contents = [path.read_bytes() for path in files.paths]
    with pytest.raises(DataError, match="the server does not answer"):
        read_images(Archive(contents, down=frozenset({4})))
    readings = read_images(Archive([*contents[:-1], b"no image"]))
    assert list(readings.failures) == [len(files) - 1]
    split = replace(files, store=Archive(contents, down=frozenset({0})))
    with pytest.raises(DataError, match=r"^the server does not answer\.$"):
        list(EvalLoader(split, size=(4, 4), batch_size=2))


def test_an_image_of_a_store_is_called_by_its_name(files: Split) -> None:
    split = replace(files, store=Archive([b"no image"] * len(files)))
    with pytest.raises(DataError, match=r"can't read the image '.*train/cat/0.png': not an image that can be recogn"):
        list(EvalLoader(split, size=(4, 4), batch_size=2))


def test_what_was_read_already_is_not_read_again(files: Split) -> None:
    known = read_images(FileStore(files.paths), pack=False)
    assert known.pixels is None
    split = np.array(["train"] * len(files))
    listing = Listing(files.root, files.classes, list(files.paths), split, files.targets, readings=known)
    listing = replace(listing, store=Archive([b""] * len(files), down=frozenset(range(len(files)))))
    assert read_listing(listing) is known
